"""The small tokenizer: what this program says fits, word by word; anything else can still be written."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from people_standin import draw, open_standin

from instantid.bundles.bundle import WordGroup
from instantid.errors import InvalidRequest
from instantid.mini_tokenizer import SAID, SHOWN, VOCABULARY, build_tokenizer, shown, unsaid
from instantid.styles import PLACEHOLDER, load_styles
from instantid.training.people.captions import write_captions
from instantid.training.people.making import compose, make
from instantid.training.people.orders import Order
from instantid.training.said import write_said

WORD = re.compile(r"[a-z]+")


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(pad="!")


@pytest.fixture(scope="module")
def captions() -> list[str]:
    """Of a hundred pictures as they are ordered for training, each as a photo and in one of the presets."""
    order = Order(people=50, views=2, size=64)
    presets = list(load_styles().values())[1:]
    told = []
    for number in range(100):
        picture = compose(order, number // 2, number % 2)
        truth = draw(picture).truth
        styles = (None, presets[number % len(presets)])
        told += [write_captions(picture, truth, style, number).full for style in styles]
    return told


def test_each_word_of_captions_and_presets_is_one_token(tokenizer, captions):
    templates = [text for style in load_styles().values() for text in (style.prompt, style.negative)]
    texts = captions + [text.replace(PLACEHOLDER, "") for text in templates]
    words = {word for text in texts for word in WORD.findall(text.lower())}
    assert len(words) > 800
    assert [word for word in words if len(tokenizer(word).input_ids) != 3] == []


def test_words_that_nobody_was_taught_are_told_once_in_their_order(captions):
    assert unsaid("A zebra, (smiling:1.2) in a kayak with a Zebra, café 2024") == ["zebra", "kayak", "café"]
    assert unsaid("she's in an 8k photo, don't smile, t-") == unsaid("smile")
    assert [word for caption in captions for word in unsaid(caption)] == []


def test_words_for_what_is_on_a_picture_are_told_apart(captions):
    groups = get_args(WordGroup)
    prompt = "A smiling woman with red hair in a kayak, Watercolor, smiling"
    assert shown(prompt, groups) == ["smiling", "hair"] and shown(prompt, ["faces"]) == ["smiling"]
    assert shown(prompt, []) == []
    lines = [line.partition(": ") for line in SHOWN.read_text(encoding="utf-8").splitlines()]
    assert {group for group, *_ in lines} == set(groups)
    words = [word for *_, listed in lines for word in listed.split()]
    assert len(words) == len(set(words))
    assert unsaid(" ".join(words)) == [], "what nobody said is told anyway"
    told = [bool(shown(caption, groups)) for caption in captions]
    assert 0.3 < sum(told) / len(told) < 1


def test_a_preset_with_a_long_caption_fits(tokenizer, captions):
    prompts = [style.apply(caption, "")[0] for style in load_styles().values() for caption in captions[::20]]
    assert max(len(tokenizer(prompt).input_ids) for prompt in prompts) <= tokenizer.model_max_length == 77


def test_words_nobody_thought_of_are_written_in_pieces(tokenizer):
    for text in ("extraterrestrial", "żółw 雪 🙂", "portrait,smiling!!", "'twas ’quoted’"):
        ids = tokenizer(text).input_ids[1:-1]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")


def test_it_is_the_same_in_every_process(tokenizer):
    """The bundle's files follow from it, and a trained text encoder's rows."""
    script = (
        "import hashlib; from instantid.mini_tokenizer import build_tokenizer as b; "
        "print(hashlib.sha256(b('!').backend_tokenizer.to_str().encode()).hexdigest())"
    )
    root = Path(__file__).parents[1]
    told = {subprocess.check_output([sys.executable, "-c", script], cwd=root) for _ in range(2)}
    assert len(told) == 1
    assert len(tokenizer) == VOCABULARY


def test_the_words_are_counted_from_rendered_people(tmp_path):
    make(Order(people=2, views=2, size=64), tmp_path / "people", open_renderer=open_standin)
    write_said(tmp_path / "people", tmp_path / "said.txt")
    lines = (tmp_path / "said.txt").read_text().splitlines()
    counts = {word: int(count) for count, word in map(str.split, lines)}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert counts["impasto"] >= 8 and counts["a"] > counts["impasto"]
    assert all(word.isalpha() and word == word.lower() for word in counts)
    kept = {line.split()[1] for line in SAID.read_text().splitlines()}
    assert set(counts) <= kept


def test_a_folder_without_people_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="no rendered people"):
        write_said(tmp_path, tmp_path / "said.txt")
    assert not (tmp_path / "said.txt").exists()
