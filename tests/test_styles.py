import json
import re
from dataclasses import FrozenInstanceError

import pytest

from instantid.errors import InvalidStyle
from instantid.request import MAX_STRENGTH, Person, Photo, Request
from instantid.styles import BUILT_IN, DEFAULT_NEGATIVE_PROMPT, NO_STYLE, Style, find_style, load_styles

REFERENCE = ["Watercolor", "Film Noir", "Neon", "Jungle", "Mars", "Vibrant Color", "Snow", "Line art"]
ENTRY = {"name": "Mine", "prompt": "my {prompt}, nice", "negative": "ugly"}


@pytest.fixture(scope="module")
def styles() -> dict[str, Style]:
    return load_styles()


def write(folder, content, name="mine.json"):
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def family(*entries) -> dict:
    return {"family": "Own", "styles": list(entries)}


def test_the_references_eight_come_with_sixty_more(styles):
    assert next(iter(styles)) == NO_STYLE
    assert [style.name for style in styles.values() if style.family == "InstantID"] == REFERENCE
    assert len(styles) > 69
    assert {"Photography", "Painting", "Illustration", "Cinema", "Design"} <= {
        s.family for s in styles.values()
    }


def test_built_in_styles_are_whole_and_fit_one_chunk_with_a_prompt(styles):
    texts = set()
    for style in list(styles.values())[1:]:
        words = re.findall(r"\w+|[^\w\s]", style.prompt.replace("{prompt}", ""))
        assert 10 < len(words) < 45, style.name
        assert 5 < len(style.negative.split()) < 45, style.name
        assert not re.search(r"\([^)]*\{prompt\}", style.prompt), (
            f"{style.name}: a bracket in a prompt would break it"
        )
        assert not re.search(r"\.\s*$|,\s*$|\s{2}|,,|BREAK", style.prompt + style.negative), style.name
        texts.add(style.prompt)
    assert len(texts) == len(styles) - 1


def test_suggestions_are_valid_requests(styles):
    suggesting = [style for style in styles.values() if style.suggested]
    assert suggesting
    person = Person(references=[Photo(image="a.jpg")])
    for style in suggesting:
        request = Request(people=[person], **style.suggested)
        assert all(getattr(request, name) == value for name, value in style.suggested.items())


def test_a_style_wraps_the_prompt_and_precedes_the_negative(styles):
    style = Style(name="x", family="y", prompt="oil painting of {prompt}, warm", negative="photo")
    assert style.apply("a man", "hat") == ("oil painting of a man, warm", "photo hat")
    assert style.apply("a man", "") == ("oil painting of a man, warm", "photo")
    assert style.apply("", " ") == ("oil painting of a person, warm", "photo")
    assert Style(name="x", family="y", prompt="{prompt}!").apply(" ", "hat") == ("a person!", "hat")


def test_braces_in_a_prompt_are_text(styles):
    hostile = "{prompt} {} {0.__class__} %s \\1 {{x}}"
    prompt, _ = styles["Watercolor"].apply(hostile, "")
    assert hostile in prompt
    assert prompt.count("watercolor") == 1


@pytest.mark.parametrize(("prompt", "negative"), [("a man", "hat"), ("", ""), ("  ", " x ")])
def test_no_style_gives_the_prompts_back_untouched(styles, prompt, negative):
    assert styles[NO_STYLE].apply(prompt, negative) == (prompt, negative)


def test_the_default_negative_is_general():
    assert "low quality" in DEFAULT_NEGATIVE_PROMPT
    assert not re.search(r"cat|drone|blue|green|gun", DEFAULT_NEGATIVE_PROMPT)


def test_a_style_cannot_be_changed(styles):
    with pytest.raises(FrozenInstanceError):
        styles["Neon"].prompt = "x"
    assert hash(styles["Neon"])


def test_a_users_folder_joins_the_built_in_ones(tmp_path):
    (tmp_path / "mine.jpg").write_bytes(b"x")
    suggested = {"identity_strength": MAX_STRENGTH, "guidance_scale": 3}
    write(tmp_path, family({**ENTRY, "suggested": suggested, "preview": "mine.jpg"}))
    styles = load_styles(tmp_path)
    assert "Watercolor" in styles
    mine = styles["Mine"]
    assert (mine.family, mine.prompt, mine.negative) == ("Own", "my {prompt}, nice", "ugly")
    assert mine.suggested == suggested
    assert mine.preview == tmp_path / "mine.jpg"
    assert styles["Neon"].preview is None


def test_a_byte_order_mark_is_no_error(tmp_path):
    write(tmp_path, "\ufeff" + json.dumps(family(ENTRY)))
    assert "Mine" in load_styles(tmp_path)


def test_a_name_used_twice_names_both_files(tmp_path):
    file = write(tmp_path, family({**ENTRY, "name": "Watercolor"}))
    with pytest.raises(InvalidStyle) as problem:
        load_styles(tmp_path)
    assert str(file) in str(problem.value)
    assert str(BUILT_IN / "instantid.json") in str(problem.value)


@pytest.mark.parametrize("name", ["Mine", NO_STYLE])
def test_a_name_used_twice_in_one_folder_or_reserved_is_an_error(tmp_path, name):
    write(tmp_path, family({**ENTRY, "name": "Mine"}), "a.json")
    second = write(tmp_path, family({**ENTRY, "name": name}), "b.json")
    with pytest.raises(InvalidStyle, match="Rename") as problem:
        load_styles(tmp_path)
    assert str(second) in str(problem.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "The file"),
        ("null", "The file"),
        ({"styles": [ENTRY]}, "family: Field required"),
        ({"family": " ", "styles": [ENTRY]}, "family"),
        (family(), "styles"),
        ({"family": "Own", "styles": {"Mine": ENTRY}}, "styles: .*list"),
        ({**family(ENTRY), "colour": 1}, "colour: Extra"),
        (family(ENTRY, "x"), "style number 2"),
        (family({"name": "Mine", "prompt": "{prompt}"}), "style “Mine”, negative: Field required"),
        (family({"prompt": "{prompt}", "negative": ""}), "style number 1, name: Field required"),
        (family({**ENTRY, "name": 3}), "style number 1, name: .*string"),
        (family({**ENTRY, "name": ""}), "style “”, name"),
        (family({**ENTRY, "negative": None}), "style “Mine”, negative: .*string"),
        (family({**ENTRY, "negativ": ""}), "style “Mine”, negativ: Extra"),
        (family({**ENTRY, "prompt": "nice"}), "“Mine” .*0 times"),
        (family({**ENTRY, "prompt": "{prompt} {prompt}"}), "“Mine” .*2 times"),
        (
            family({**ENTRY, "suggested": {"identity_strength": 1.6}}),
            "“Mine”, suggested, identity_strength: .*1.5",
        ),
        (family({**ENTRY, "suggested": {"adapter_strength": -0.1}}), "adapter_strength: .*0"),
        (family({**ENTRY, "suggested": {"guidance_scale": 21}}), "guidance_scale: .*20"),
        (family({**ENTRY, "suggested": {"guidance_scale": float("nan")}}), "guidance_scale"),
        (family({**ENTRY, "suggested": {"guidance_scale": "5"}}), "guidance_scale: .*number"),
        (family({**ENTRY, "suggested": {"steps": 5}}), "suggested, steps: Extra"),
        (family({**ENTRY, "preview": "missing.jpg"}), "preview “missing.jpg” of the style “Mine”"),
        (family({**ENTRY, "preview": "/etc/passwd"}), "preview “/etc/passwd”"),
        (family({**ENTRY, "preview": "../outside.jpg"}), "preview “../outside.jpg”"),
    ],
)
def test_a_malformed_file_is_named_with_what_is_wrong(tmp_path, content, said):
    (tmp_path / "outside.jpg").write_bytes(b"x")
    folder = tmp_path / "presets"
    folder.mkdir()
    file = write(folder, content)
    with pytest.raises(InvalidStyle, match=said) as problem:
        load_styles(folder)
    assert str(file) in str(problem.value)


def test_a_file_that_is_not_text_is_named(tmp_path):
    (tmp_path / "mine.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidStyle, match=r"mine\.json is not JSON"):
        load_styles(tmp_path)
    (tmp_path / "mine.json").unlink()
    (tmp_path / "mine.json").mkdir()
    with pytest.raises(InvalidStyle, match=r"mine\.json cannot be read"):
        load_styles(tmp_path)


def test_a_folder_without_presets_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InvalidStyle, match=re.escape(str(folder))):
            load_styles(folder)


def test_an_unknown_style_suggests_the_nearest(styles):
    assert find_style(styles, "Film Noir") is styles["Film Noir"]
    with pytest.raises(InvalidStyle, match="“Watercolor”"):
        find_style(styles, "watercolour")
    with pytest.raises(InvalidStyle, match=r"no style “qqqq”.*There are"):
        find_style(styles, "qqqq")
