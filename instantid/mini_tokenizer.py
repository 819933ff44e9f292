"""A small tokenizer of CLIP's kind for the bundles that `mini` builds: any text can be written with it."""

import json

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer


def build_tokenizer(pad: str) -> CLIPTokenizer:
    """A byte-pair tokenizer like CLIP's, its merges learned from a few sentences about pictures of people."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [byte + "</w>" for byte in alphabet]
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        min_frequency=1,
        initial_alphabet=alphabet,
        # Numbered beforehand: the trainer meets them in any order, and settles ties between merges by number.
        special_tokens=ends,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator([CORPUS], trainer)
    learned = json.loads(bpe.to_str())["model"]
    # Every byte must also exist as the end of a word, or unseen text would have no tokens.
    words = alphabet + ends
    words += sorted(set(learned["vocab"]) - set(words), key=learned["vocab"].get)
    words += ["<|startoftext|>", "<|endoftext|>"]  # the end has the highest id: CLIP pools at the largest
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=[tuple(merge) for merge in learned["merges"]],
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        pad_token=pad,
        model_max_length=77,
    )


CORPUS = """a photo portrait of a man a woman a person a child an old man a young woman smiling face looking at the
camera studio light soft light sunset city street forest jungle snow mountain beach desert mars space astronaut
watercolor painting oil painting pencil drawing line art ink illustration anime comic poster film noir black and
white neon cyberpunk cinematic vibrant color colorful highly detailed sharp focus masterpiece best quality low
quality worst quality blurry deformed ugly text watermark frame cropped out of focus disfigured monochrome shirt
dress suit hat glasses beard hair long short curly blond brown black red green blue yellow white background bokeh
35mm 50mm 85mm lens depth of field golden hour dramatic lighting rim light high contrast fashion editorial
renaissance baroque impressionist art deco art nouveau ukiyo-e pop art surreal fantasy knight wizard elf king queen
in the style of with and the on at by from for close-up wide shot full body upper body head and shoulders"""
