"""A small tokenizer of CLIP's kind for the bundles that `mini` builds: any text can be written with it.

Its merges are learned from two lists of words beside this file: `said.txt`, what captions and style presets say
(`training.said` writes it), and `asked.txt`, what else people write in prompts (kept by hand). A third one, also kept
by hand, tells of what is said: `shown.txt`, words for what is on a picture rather than how it looks, in groups.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

SAID = Path(__file__).parent / "said.txt"
ASKED = Path(__file__).parent / "asked.txt"
SHOWN = Path(__file__).parent / "shown.txt"
# Enough for every word that is said to be one token; each token costs two text encoders a row.
VOCABULARY = 3000


def build_tokenizer(pad: str) -> CLIPTokenizer:
    """A byte-pair tokenizer like CLIP's. The words that captions and presets use are one token each."""
    clip = CLIPTokenizer().backend_tokenizer
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer, bpe.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Every byte must also exist as the end of a word, or unseen text would have no tokens.
    ends = [byte + "</w>" for byte in alphabet]
    markers = ["<|startoftext|>", "<|endoftext|>"]  # the end has the highest id: CLIP pools at the largest
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(markers),
        min_frequency=1,
        initial_alphabet=alphabet,
        # Numbered beforehand: the trainer meets them in any order, and settles ties between merges by number.
        special_tokens=ends,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(), trainer)
    learned = json.loads(bpe.to_str())["model"]
    words = alphabet + ends
    words += sorted(set(learned["vocab"]) - set(words), key=learned["vocab"].get)
    vocabulary = {word: number for number, word in enumerate(words + markers)}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=[tuple(merge) for merge in learned["merges"]],
        bos_token=markers[0],
        eos_token=markers[1],
        unk_token=markers[1],
        pad_token=pad,
        model_max_length=77,
    )


def unsaid(text: str) -> list[str]:
    """The words of a text that no caption or style preset ever said, in their order: nobody was taught them."""
    said = {line.split()[1] for line in SAID.read_text(encoding="utf-8").splitlines()}
    return [word for word in _words(text) if word not in said]


def shown(text: str, groups: Collection[str]) -> list[str]:
    """The words of a text that were said, and say what is on a picture, of some groups: hair, clothes, places."""
    lines = (line.partition(":") for line in SHOWN.read_text(encoding="utf-8").splitlines())
    told = {word for group, _, words in lines if group in groups for word in words.split()}
    return [word for word in _words(text) if word in told]


def _words(text: str) -> Iterable[str]:
    """Each once, in their order."""
    whole = re.sub(r"\w+['’]\w+", " ", text.lower())  # whose parts, as of “don't”, are no words
    return dict.fromkeys(re.findall(r"[^\W\d_]{2,}", whole))


def _corpus() -> Iterator[str]:
    """Each word said as often as its count has binary digits, and twice more: rare words are to be learned too."""
    for line in SAID.read_text(encoding="utf-8").splitlines():
        count, word = line.split()
        yield " ".join([word] * (2 + int(count).bit_length()))
    yield ASKED.read_text(encoding="utf-8")
