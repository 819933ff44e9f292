"""Which words captions and style presets say, and how often: what the small tokenizer's merges are learned from.

Run again when captions, presets or the renderer learn new words, over any folder of rendered people:

    python -c "from instantid.training.said import write_said; write_said('FOLDER')"

Then give `bundles.opening.mini_folder` its next number: another vocabulary makes another bundle.
"""

from collections import Counter
from pathlib import Path

from transformers import CLIPTokenizer

from ..errors import InvalidRequest
from ..mini_tokenizer import SAID
from ..styles import PLACEHOLDER, load_styles
from .people.shards import read_records

PRESET_COUNT = 8  # how often each preset counts, so that it outweighs what few captions say


def count_words(texts: Counter[str]) -> Counter[str]:
    """Count the words of texts that are each said so often, taken apart as CLIP does; punctuation is left out."""
    clip = CLIPTokenizer().backend_tokenizer
    words: Counter[str] = Counter()
    for text, times in texts.items():
        plain = clip.normalizer.normalize_str(text)
        for _, (start, end) in clip.pre_tokenizer.pre_tokenize_str(plain):
            if plain[start:end].isalpha():
                words[plain[start:end]] += times
    return words


def write_said(folder: Path | str, file: Path = SAID) -> None:
    """Write the words of the captions in `folder` and of all built-in presets, the most frequent first.

    Raises:
        InvalidRequest: the folder holds no shards.
    """
    shards = sorted(Path(folder).glob("*.tar"))
    if not shards:
        raise InvalidRequest(
            f"There are no rendered people in {folder}: a folder with *.tar shards was wanted. "
            "`python -m instantid data people` makes one."
        )
    texts = Counter(text for record in read_records(shards) for text in record["captions"].values())
    for style in load_styles().values():
        for text in (style.name, style.prompt.replace(PLACEHOLDER, " "), style.negative):
            texts[text] += PRESET_COUNT
    counted = sorted(count_words(texts).items(), key=lambda entry: (-entry[1], entry[0]))
    file.write_text("".join(f"{count} {word}\n" for word, count in counted), encoding="utf-8")
