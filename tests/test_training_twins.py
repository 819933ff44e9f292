"""The twins stage: what captions say otherwise comes to differ, and everything else stays."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_family import SIZES, face_in_disc, linear, make_velocity_bundle
from unions import save_union

from instantid import mini
from instantid.errors import InvalidRequest
from instantid.styles import load_styles
from instantid.training import things
from instantid.training.adversarial import STEPS
from instantid.training.bundle_file import name_part
from instantid.training.denoising import Denoiser
from instantid.training.loop import train
from instantid.training.people import words
from instantid.training.prepared import Example, Prepared, some_of, write_piece
from instantid.training.settings import Settings
from instantid.training.twin_foretelling import TwinForetelling
from instantid.training.twin_pairs import twins_of
from instantid.training.twins import Options, TwinsTask

UNET = "base/unet/diffusion_pytorch_model.safetensors"
READER = "base/text_encoder/model.safetensors"
BOTH = (1.0, 1.0)
PEOPLE, HELD = 20, 4
PRESET = "Film Noir"
PLAIN = {"presets": 0, "mapped": 0}
EVERY = np.arange(2 * (PEOPLE - HELD))
SHOWN = np.arange(2 * (PEOPLE - HELD), 2 * PEOPLE, 3)  # one of some twins alone


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Discs before a black or a white wall, as is said; twins are one disc before both."""
    folder, random = tmp_path_factory.mktemp("twins"), np.random.default_rng(0)
    for person in range(PEOPLE):
        write_piece(folder / f"piece-{person:02d}", _twins(person, random), width=8)
    return linear(Prepared(folder))


@pytest.fixture(scope="module")
def in_looks(tmp_path_factory):
    """The same, each picture also with brightness turned round, as a preset's look."""
    folder, random = tmp_path_factory.mktemp("looks"), np.random.default_rng(0)
    for person in range(PEOPLE):
        shown = []
        for photo in _twins(person, random):
            record = photo.record | {"look": PRESET}
            shown += [photo, dataclasses.replace(photo, image=250 - photo.image, record=record)]
        write_piece(folder / f"piece-{person:02d}", shown, width=8)
    return linear(Prepared(folder))


@pytest.fixture
def bundle(prepared, tmp_path):
    return make_velocity_bundle(tmp_path / "bundle", prepared)


def _twins(person, random):
    y, x = np.mgrid[:64, :64]
    centre = random.uniform(28, 36, 2)
    colour = random.integers(60, 255, 3)
    face = face_in_disc(centre, 64, random.normal(size=8))
    walls = ["black", "white"] if person % 2 else ["white", "black"]
    for view, wall in enumerate(walls):
        image = np.full((64, 64, 3), 20 if wall == "black" else 230, np.uint8)
        image[np.hypot(x - centre[0], y - centre[1]) < 16] = colour
        captions = {
            "full": f"a disc, plain {wall} background",
            "short": f"a disc in front of a {wall} wall",
            "terse": "a disc",
        }
        yield Example(
            image=image,
            face=None if person == 3 else face,
            person=person,
            depth=np.zeros((64, 64), np.uint8),
            record={
                "scene": f"{person}-{view}",
                "twin": f"{person}-0",
                "look": "photo",
                "caption": captions["short"],
                "captions": captions,
                "figures": [
                    {"attributes": {"hair": None, "glasses": False, "expression": None}, "clothes": None}
                ],
                "background": {"kind": "plain", "colours": [words.COLOURS[wall]]},
            },
        )


@pytest.fixture
def task(bundle, prepared):
    return TwinsTask(bundle, prepared, EVERY, SHOWN, Options(**PLAIN))


def wall(task, text, noise):
    """How bright the corners are of what is made of noise by these words, all told of the first held-out face."""
    given = task._given([text] * len(noise), np.repeat(SHOWN[:1], len(noise)), BOTH)
    at = torch.full((len(noise),), STEPS[0])
    with torch.no_grad():
        made = task.denoiser.made(torch.zeros_like(noise), noise, at, given)
    return float(made[:, :3, :2, :2].mean())


def test_twins_are_found_by_their_scene(prepared, task):
    pairs = twins_of(prepared, np.arange(len(prepared)))
    assert len(pairs) == PEOPLE - 1, "of one no face was found"
    assert (pairs[:, 1] == pairs[:, 0] + 1).all() and (prepared.persons[pairs[:, 0]] != 3).all()
    assert len(task) == PEOPLE - HELD - 1
    assert not len(twins_of(prepared, np.arange(0, len(prepared), 2))), "half of two are no twins"


def test_words_come_to_change_what_they_change_in_pictures_and_all_else_stays(task, tmp_path, bundle):
    torch.manual_seed(0)
    noise = torch.randn(32, 4, 8, 8)
    texts = ("a disc, plain black background", "a disc, plain white background", "a disc")
    before = [wall(task, text, noise) for text in texts]
    settings = Settings(
        steps=160, batch=8, learning_rate=2e-3, warmup=5, average=0, sheet_every=0, log_every=4, device="cpu"
    )
    progress = [each.figures for each in train(task, settings, tmp_path, bundle)]
    first, last = (
        {
            name: np.mean([figures[name] for figures in some if name in figures])
            for name in ("words", "common", "kept")
        }
        for some in (progress[:2], progress[-5:])
    )
    assert first["words"] > 0.5 > 0.2 > last["words"]
    assert last["common"] < 0.1 and last["kept"] < 0.1
    dark, bright, neither = (wall(task, text, noise) for text in texts)
    wanted = 2 * (230 - 20) / 255
    assert 0.5 * wanted < bright - dark < 1.2 * wanted and abs(before[1] - before[0]) < 0.1 * wanted
    assert abs(neither - before[2]) < 0.15 * wanted
    assert abs((bright + dark) / 2 - (before[0] + before[1]) / 2) < 0.2 * wanted


def test_unet_and_first_text_encoder_learn_and_are_written(task, tmp_path, bundle):
    was = load_file(bundle / UNET)
    adapter = task.denoiser.unet.encoder_hid_proj.state_dict()
    before = {name: weights.clone() for name, weights in adapter.items()}
    learned = {name for name, weights in task.named_parameters() if weights.requires_grad}
    parts = {name.split(".")[1] for name in learned}
    assert parts == {"unet", "text_encoder"} and {f"denoiser.unet.{name}" for name in was} <= learned
    read = load_file(bundle / READER)
    settings = Settings(steps=3, batch=4, average=0, sheet_every=0, device="cpu")
    list(train(task, settings, tmp_path, bundle))
    for file, before_it in ((UNET, was), (READER, read)):
        assert any((weights != before_it[name]).any() for name, weights in load_file(bundle / file).items())
    assert all((adapter[name] == weights).all() for name, weights in before.items())


def test_it_begins_where_it_was(task):
    """Nothing is moved by what is to stay before anything is learned: the teacher hears the same."""
    for strengths in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)):
        pairs = task._twins[:4]
        told = [task._captions.in_full(pair) for pair in pairs]
        with torch.no_grad():
            made, was = task._made_of(pairs, told, strengths)
            _, common = task._differing(pairs, made, was, task._apart(pairs))
            kept = [task._kept(pairs, strengths) for _ in range(6)]
        assert float(common) < 1e-9
        assert max(map(float, kept)) < 1e-9


def test_the_sheet_shows_twins_and_what_is_made_of_both_captions(task, prepared):
    sheet = task.sheet()
    assert sheet.size[0] >= 3 * 64 and sheet.size[1] >= 4 * 64


def test_data_without_twins_is_refused_with_what_to_do(bundle, prepared):
    with pytest.raises(InvalidRequest, match="--twins"):
        TwinsTask(bundle, prepared, EVERY[::2], SHOWN, Options(**PLAIN))


def test_a_base_that_predicts_noise_is_refused(prepared, tmp_path):
    plain = make_velocity_bundle(tmp_path / "plain", prepared, velocity=False)
    with pytest.raises(InvalidRequest, match="predicts v"):
        TwinsTask(plain, prepared, EVERY, SHOWN, Options(**PLAIN))


def test_captions_foretell_as_much_as_they_say(prepared, task):
    """Of a wall that is not spoken of there is as much as of all walls together."""
    foretelling = TwinForetelling(prepared, task._twins)
    pairs = task._twins[:6]
    in_full = [task._captions.in_full(pair) for pair in pairs]
    both, neither, one = (
        foretelling.apart(pairs, captions)
        for captions in (in_full, [("a disc",) * 2] * 6, [(said, "a disc") for said, _ in in_full])
    )
    assert both.shape == (6, 4, 8, 8) and float(neither.abs().max()) == 0
    assert torch.allclose(2 * one, both, atol=0.2 * float(both.abs().max()))
    corners = both[:, :3, :2, :2].mean(dim=(1, 2, 3))
    assert corners.abs().min() > 0.6 * 2 * (230 - 20) / 255, "as far as the walls themselves"
    truth = task._apart(pairs)[:, :3, :2, :2].mean(dim=(1, 2, 3))
    assert (corners.sign() == truth.sign()).all()


def test_what_captions_say_is_read_off_records():
    seen = {"hair": "long dark blonde hair", "glasses": True, "expression": "smiling"}
    figure = {"attributes": seen, "clothes": "a light blue dress"}
    record = {"figures": [figure], "background": {"kind": "plain", "colours": [words.COLOURS["pink"]]}}
    assert set(things.things_of(record)) == {
        ("hair", "long hair"),
        ("hair", "dark blonde"),
        ("clothes", "light blue"),
        ("place", "plain"),
        ("place", "pink"),
        ("glasses", "glasses"),
        ("expression", "smiling"),
    }
    hidden = {"hair": None, "glasses": False, "expression": None}
    beach = {"kind": "beach", "colours": [words.COLOURS["blue"]]}
    record = {"figures": [{"attributes": hidden, "clothes": "a sari"}], "background": beach}
    assert set(things.things_of(record)) == {
        ("hair", "under a hat"),
        ("place", "beach"),
        ("expression", "None"),
    }


@pytest.mark.parametrize("foretold", [0.0, 1.0])
def test_twins_may_be_asked_to_differ_more_than_they_do(bundle, prepared, monkeypatch, foretold):
    options = Options(**PLAIN, kept=0, foretold=foretold, louder=1.5, brief=0)
    task = TwinsTask(bundle, prepared, EVERY, SHOWN, options)
    asked = []

    def made_of(pairs, told, strengths):
        asked.append([told])
        return torch.ones(2), torch.zeros(2)

    def differing(pairs, made, was, wanted):
        asked[-1] += [pairs, wanted]
        return torch.ones(()), torch.zeros(())

    monkeypatch.setattr(task, "_made_of", made_of)
    monkeypatch.setattr(task, "_differing", differing)
    figures = task([0, 1, 2])
    [(told, pairs, wanted)] = asked
    usual = task._foretelling.apart(pairs, told) if foretold else task._apart(pairs)
    assert torch.allclose(wanted, 1.5 * usual) and told == [task._captions.in_full(pair) for pair in pairs]
    assert set(figures) == {"loss", "words" if foretold else "twins", "common"}


def test_clothes_are_told_as_captions_tell_them():
    figure = {"attributes": {"hair": None, "glasses": False, "expression": None}, "clothes": "a red dress"}
    record = {"figures": [figure], "background": {"kind": "beach", "colours": [words.COLOURS["blue"]]}}
    assert things.phrases_of(record)["clothes"] == ("wearing a red dress", "in a red dress")
    figure["clothes"] = None
    assert not things.phrases_of(record)["clothes"]


def test_in_presets_words_change_what_they_change_there(bundle, in_looks):
    every = np.arange(4 * (PEOPLE - HELD))
    task = TwinsTask(
        bundle, in_looks, every, SHOWN, Options(presets=1, foretold=1, kept=0, brief=1, mapped=0)
    )
    torch.manual_seed(0)
    told, turned = task._in_presets(task._twins)
    first, last = load_styles()[PRESET].prompt.split("{prompt}")
    brief = [tuple(said.removeprefix(first).removesuffix(last) for said in two) for two in told]
    assert all(len(said) < len(whole) for two, both in zip(brief, told) for said, whole in zip(two, both))
    plain = task._foretelling.apart(task._twins, brief)
    corners, opposite = (each[:, :3, :2, :2].mean(dim=(1, 2, 3)) for each in (plain, turned))
    spoken_of = corners.abs() > 0.5
    assert 3 < spoken_of.sum() < len(task._twins), "some captions say nothing of a wall"
    assert torch.allclose(opposite[spoken_of], -corners[spoken_of], rtol=0.3)
    assert set(task([0, 1, 2])) == {"loss", "styled", "common"}


def test_presets_want_data_with_looks(bundle, prepared):
    with pytest.raises(InvalidRequest, match="--looks 1, or set presets: 0"):
        TwinsTask(bundle, prepared, EVERY, SHOWN, Options(mapped=0))


@pytest.fixture
def with_union(bundle):
    save_union(bundle / "controlnets" / "union", Denoiser(bundle).unet)
    name_part(bundle, "controlnets.union", "controlnets/union")
    return bundle


def test_what_maps_lead_stays_too(with_union, prepared, monkeypatch):
    task = TwinsTask(with_union, prepared, EVERY, SHOWN, Options(**PLAIN | {"mapped": 1}))
    assert not any(weights.requires_grad for weights in task._guide.parameters())
    led = []
    guided = task._guide.guided

    def spied(conditions, chosen, told, **more):
        led.append(told)
        return guided(conditions, chosen, told, **more)

    monkeypatch.setattr(task._guide, "guided", spied)
    pairs = task._twins[:4]
    with torch.no_grad():
        kept = [float(task._kept(pairs, BOTH)) for _ in range(4)]
        assert max(kept) < 1e-9, "the same net says the same to both"
        assert len(led) >= 8 and all(told == [("canny",)] * 4 for told in led), (
            "there is no more on record here"
        )
        texts, maps = ["a disc"] * 4, (pairs[:, 0], led[0])
        noise, given = torch.randn(4, 4, 8, 8), task._given(texts, pairs[:, 0], (0.0, 0.0))
        started = torch.zeros_like(noise), noise, STEPS[0]
        said, _ = task._made(*started, given, texts, maps)
        unled, _ = task._made(*started, given, texts)
        assert not torch.allclose(said, unled, atol=1e-3)
        # Once the text encoder has learned, the net speaks to the UNet from before as it heard the words then.
        task.denoiser.text_encoder.get_input_embeddings().weight.mul_(-1)
        _, was = task._made(*started, task._given(texts, pairs[:, 0], (0.0, 0.0)), texts, maps)
    assert torch.allclose(was, said, atol=1e-5)


def test_maps_want_a_union_net(bundle, prepared):
    with pytest.raises(InvalidRequest, match="Set mapped: 0"):
        TwinsTask(bundle, prepared, EVERY, SHOWN, Options(presets=0))


def test_another_bundle_may_say_what_stays(bundle, prepared, tmp_path):
    teacher = make_velocity_bundle(tmp_path / "teacher", prepared)
    weights = load_file(teacher / UNET)
    save_file({name: 1.1 * each for name, each in weights.items()}, teacher / UNET)
    task = TwinsTask(bundle, prepared, EVERY, SHOWN, Options(**PLAIN, teacher=str(teacher)))
    before = task.before.state_dict()
    assert all(torch.equal(1.1 * each, before[name]) for name, each in weights.items())
    with torch.no_grad():
        assert float(task._kept(task._twins[:4], BOTH)) > 1e-4
    other = mini.build(tmp_path / "other", dataclasses.replace(SIZES, embedding=8, channels=(64, 64)))
    with pytest.raises(InvalidRequest, match="built otherwise"):
        TwinsTask(bundle, prepared, EVERY, SHOWN, Options(**PLAIN, teacher=str(other)))


def test_faces_may_count_more_in_what_stays(bundle, prepared):
    task = TwinsTask(bundle, prepared, EVERY, SHOWN, Options(**PLAIN, faces=5))
    counts = task._counts(task._twins[:2, 0], torch.zeros(2, 4, 8, 8))
    assert counts.shape == (2, 1, 8, 8) and set(counts.unique().tolist()) == {1.0, 5.0}
    assert (counts[:, 0, 4, 4] == 5).all() and (counts[:, 0, 0, 0] == 1).all()


def test_of_some_twins_the_first_stays_the_first():
    pairs = np.stack([np.arange(40, 20, -1), np.arange(20)], axis=1)
    drawn = some_of(pairs, 5)
    assert drawn.shape == (5, 2) and all((pairs == pair).all(axis=1).any() for pair in drawn)


def test_what_captions_tell_is_read_in_what_is_made(bundle, prepared, tmp_path):
    """Asked to differ by a tenth of what walls do, they come to differ so that one can tell which wall it is."""
    asked = PLAIN | {"louder": 0.1, "kept": 0, "foretold": 1}
    settings = Settings(
        steps=120, batch=8, learning_rate=2e-3, warmup=5, average=0, sheet_every=0, log_every=4, device="cpu"
    )
    noise, apart = torch.randn(32, 4, 8, 8, generator=torch.Generator().manual_seed(0)), {}
    out = shutil.copytree(bundle, tmp_path / "out")
    for read in (0, 10):
        task = TwinsTask(bundle, prepared, EVERY, SHOWN, Options(**asked, read=read))
        run = list(train(task, settings, tmp_path / str(read), out))
        dark, bright = (wall(task, f"a disc, plain {name} background", noise) for name in ("black", "white"))
        apart[read] = bright - dark
    assert set(run[-1].figures) >= {"unread", "unheard"}
    assert run[-1].figures["unread"] < 0.3 and run[-1].figures["unheard"] < 0.5
    assert apart[10] > 1.5 * apart[0], apart


def test_the_reader_learns_from_true_pictures_alone(bundle, prepared):
    task = TwinsTask(bundle, prepared, EVERY, SHOWN, Options(**PLAIN, read=1))
    torch.nn.init.normal_(task.reader.says.weight, std=1.0)
    torch.manual_seed(0)
    pairs = task._twins[:4]
    told, made = [task._captions.in_full(pair) for pair in pairs], torch.randn(8, 4, 8, 8, requires_grad=True)
    ours, slopes = list(task.reader.parameters()), []
    for scale in (1, 10):
        torch.manual_seed(1)
        painted = scale * made
        texts = [text for each in zip(*told, strict=True) for text in each]
        learned, unheard, _ = task.reader(painted, pairs.T.ravel(), texts, painted.square().mean())
        slopes.append(torch.autograd.grad(learned + unheard, [*ours, made]))
    assert all(torch.equal(one, other) for one, other in zip(slopes[0][:-1], slopes[1][:-1]))
    assert slopes[0][-1].abs().sum() == 0, "who reads no better than one guesses teaches nothing"
