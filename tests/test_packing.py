"""Weights that lie small in the repository: packed, unpacked where they are opened, and none the worse for it."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from instantid import bundles, controls, hosting, loading
from instantid.adapter_file import read_adapter, read_style_adapter
from instantid.bundles import Trained, packed
from instantid.engine import Engine
from instantid.errors import BundleError, InstantIDError
from instantid.request import Person, Request
from instantid.training.packed_pictures import compare_pictures
from instantid.training.packing import pack

ROOT = Path(__file__).parents[1]
MB = 10**6
CARD = Trained(
    on="40 rendered people",
    hours=0.25,
    hardware="two CPU cores",
    command="python -m instantid train base mini.yaml",
    date="2026-11-24",
    commit="0123abc",
)


@pytest.fixture(scope="module")
def small(tiny, tmp_path_factory) -> Path:
    """`tiny` as int8. To be looked at, not changed."""
    folder = tmp_path_factory.mktemp("packed") / "mini"
    pack(tiny, folder, trained=CARD)
    return folder


@pytest.fixture
def copy(small, tmp_path) -> Path:
    """A packed folder to change."""
    return shutil.copytree(small, tmp_path / "copy")


@pytest.fixture
def embedded(small, tmp_path, monkeypatch) -> Path:
    """The packed folder as the repository's own mini, and an empty cache, which is returned."""
    monkeypatch.setattr(bundles.opening, "EMBEDDED_MINI", small)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "instantid-studio"


def opened(folder: Path, cache: Path) -> bundles.Bundle:
    return bundles.open_bundle(folder, cache=cache)


def request(face, **changes) -> Request:
    settings = {"prompt": "a king", "seed": 3, "steps": 2, "width": 64, "height": 64}
    return Request(people=[Person(references=[face])], **(settings | changes))


# What is written


def test_matrices_are_off_by_half_a_step_and_everything_else_by_half_precision(tiny, small, tmp_path):
    bundle = opened(small, tmp_path)
    before = loading.load_pipeline(bundles.open_bundle(tiny), torch.float32).components
    after = loading.load_pipeline(bundle, torch.float32).components
    narrowed = set()
    for part in ("unet", "vae", "text_encoder", "text_encoder_2", "controlnet"):
        weights = before[part].state_dict()
        assert after[part].state_dict().keys() == weights.keys()
        for key, now in after[part].state_dict().items():
            was = weights[key]
            if torch.equal(was.half().float(), now):
                continue
            narrowed.add(f"{part}.{key}")
            step = was.flatten(1).abs().amax(1) / 127
            apart = (was - now).flatten(1).abs().amax(1)
            assert (apart <= step * 0.5001).all(), key
    assert "unet.mid_block.resnets.0.conv1.weight" in narrowed
    assert any("attn2.to_k" in key for key in narrowed)
    spared = (
        "vae.",
        "token_embedding",
        "position_embedding",
        "time_embedding",
        "add_embedding",
        "conv_in",
        "conv_out",
    )
    assert not [key for key in narrowed if any(word in key for word in (*spared, "norm", "bias"))]


@pytest.mark.parametrize(
    ("part", "read"), [("identity_adapter", read_adapter), ("style_adapter", read_style_adapter)]
)
def test_adapters_come_back_with_every_name(tiny, small, tmp_path, part, read):
    before, after = read(bundles.open_bundle(tiny).require(part)), read(opened(small, tmp_path).require(part))
    for half in ("image_proj", "ip_adapter"):
        assert after[half].keys() == before[half].keys()
        for key, was in before[half].items():
            assert torch.allclose(after[half][key], was, atol=was.abs().max().item() / 250)
            assert after[half][key].dtype == torch.float32


def test_what_is_no_weight_stays_as_it_is(tiny, small, tmp_path):
    folder = opened(small, tmp_path).folder
    texts = [
        file.relative_to(tiny) for file in (tiny / "base").rglob("*") if file.suffix in {".json", ".txt"}
    ]
    assert len(texts) > 5
    for text in texts:
        assert (small / text).read_bytes() == (folder / text).read_bytes() == (tiny / text).read_bytes()


def test_a_configuration_does_not_say_where_it_was_loaded_from(copy, tmp_path):
    before = json.loads((copy / "base" / "unet" / "config.json").read_text())
    (copy / "base" / "unet" / "config.json").write_text(json.dumps(before | {"_name_or_path": str(copy)}))
    pack(copy, tmp_path / "again", trained=CARD)
    assert json.loads((tmp_path / "again" / "base" / "unet" / "config.json").read_text()) == before


def test_int8_is_half_of_fp16_which_is_half_of_single_precision(tiny, tmp_path):
    reports = {precision: pack(tiny, tmp_path / precision, precision) for precision in ("int8", "fp16")}

    def weights(folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))

    whole = weights(tiny) + (tiny / "ip-adapter.bin").stat().st_size
    assert weights(tmp_path / "fp16") / whole == pytest.approx(0.5, abs=0.05)
    assert 0.25 < weights(tmp_path / "int8") / whole < 0.4
    for precision, report in reports.items():
        sizes = {
            file.relative_to(tmp_path / precision).as_posix(): file.stat().st_size
            for file in (tmp_path / precision).rglob("*")
            if file.is_file()
        }
        assert report.files == sizes and report.size == sum(sizes.values())
        assert report.precision in str(report) and f"{report.size / MB:.2f} MB" in str(report)
    exact, coarse = reports["fp16"], reports["int8"]
    assert 0 < exact.relative < 0.0005 < 0.001 < coarse.relative < 0.01
    assert exact.mean_error < coarse.mean_error and exact.largest_error < coarse.largest_error
    assert coarse.relative <= coarse.worst_relative and coarse.numbers == exact.numbers > 10**6


def test_the_same_weights_give_the_same_bytes(tiny, small, tmp_path):
    pack(tiny, tmp_path / "again", trained=CARD)
    files = {file.relative_to(small): file.read_bytes() for file in small.rglob("*") if file.is_file()}
    assert files == {
        file.relative_to(tmp_path / "again"): file.read_bytes()
        for file in (tmp_path / "again").rglob("*")
        if file.is_file()
    }


def test_large_files_are_split_and_come_back_as_one(tiny, small, tmp_path, monkeypatch):
    whole = opened(small, tmp_path / "cache").folder
    monkeypatch.setattr(packed, "LARGEST", 500_000)
    pack(tiny, tmp_path / "split", trained=CARD)
    sizes = [file.stat().st_size for file in (tmp_path / "split").rglob("*.safetensors")]
    assert max(sizes) <= 500_000 and len(sizes) > len(list(small.rglob("*.safetensors")))
    again = opened(tmp_path / "split", tmp_path / "cache").folder
    assert again != whole
    for file in whole.rglob("*.safetensors"):
        before, after = load_file(file), load_file(again / file.relative_to(whole))
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_a_tensor_that_fits_no_file_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "LARGEST", 210_000)
    with pytest.raises(BundleError, match=r"takes .* bytes, and no packed file may be larger than 210,000"):
        pack(tiny, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0, 6e4])
def test_channels_of_any_size_keep_seven_bits(size):
    array = np.random.default_rng(0).normal(size=(8, 16, 3, 3)).astype(np.float32) * np.float32(size)
    array[3] = 0
    back = packed.dequantise(*packed.quantise(array))
    most = np.abs(array).reshape(8, -1).max(1)
    assert (np.abs(back - array).reshape(8, -1).max(1) <= most / 253).all()
    assert (back[3] == 0).all() and back.dtype == np.float32


def test_weights_in_bfloat16_can_be_packed(tiny, tmp_path):
    rough = shutil.copytree(tiny, tmp_path / "rough")
    for file in rough.rglob("*.safetensors"):
        tensors = {key: tensor.bfloat16() for key, tensor in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    assert pack(rough, tmp_path / "packed", "fp16").relative < 0.001
    loading.load_pipeline(opened(tmp_path / "packed", tmp_path / "cache"), torch.float32)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e5])
def test_weights_that_training_has_broken_are_refused(tiny, tmp_path, number):
    broken = shutil.copytree(tiny, tmp_path / "broken")
    file = broken / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"][0, 0, 0, 0] = number
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(BundleError, match=r"conv_in\.weight .*half precision cannot hold"):
        pack(broken, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_a_folder_in_use_is_left_alone_and_one_packed_before_replaced(tiny, copy, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "letter.txt").write_text("dear")
    with pytest.raises(BundleError, match="in use"):
        pack(tiny, tmp_path / "used")
    (copy / "stray").write_text("left over")
    pack(tiny, copy, "fp16")
    assert not (copy / "stray").exists() and opened(copy, tmp_path / "cache").untrained
    assert {path.name for path in tmp_path.iterdir()} == {"used", "copy", "cache"}


# What it says about itself


def test_the_card_says_what_it_was_trained_on_and_what_to_expect(small, tmp_path):
    bundle = opened(small, tmp_path)
    assert bundle.trained == CARD and not bundle.untrained
    for words in (
        "tiny",
        "64 × 64",
        "0.2 hours",
        "40 rendered people",
        "look-alike, not you",
        "fetch --bundle sdxl",
    ):
        assert words in bundle.about
    assert bundle.licences["base"] == "Apache-2.0. Trained by this project on 40 rendered people."
    assert "40 rendered people" in (small / "LICENCES.md").read_text()
    assert "trained" not in bundle.sources


def test_trained_weights_without_a_card_are_refused_and_untrained_ones_stay_untrained(tiny, tmp_path):
    description = json.loads((tiny / "bundle.json").read_text()) | {"untrained": False}
    silent = shutil.copytree(tiny, tmp_path / "silent")
    (silent / "bundle.json").write_text(json.dumps(description))
    with pytest.raises(BundleError, match="must be told on what"):
        pack(silent, tmp_path / "packed")
    pack(tiny, tmp_path / "packed")
    bundle = opened(tmp_path / "packed", tmp_path / "cache")
    assert bundle.untrained and bundle.about is None and "Random weights" in bundle.licences["base"]


def test_face_models_are_those_that_every_machine_fetches(tiny, tmp_path):
    theirs = shutil.copytree(tiny, tmp_path / "theirs")
    description = json.loads((tiny / "bundle.json").read_text())
    for kind, faces in (("opencv", "anywhere"), ("insightface", "antelopev2")):
        (theirs / "bundle.json").write_text(
            json.dumps(description | {"faces": {"kind": kind, "path": faces}})
        )
        if kind == "insightface":
            with pytest.raises(BundleError, match=r"insightface.*cannot be brought along"):
                pack(theirs, tmp_path / kind)
        else:
            pack(theirs, tmp_path / kind)
            bundle = opened(tmp_path / kind, tmp_path / "cache")
            assert bundle.place("faces").resolve() == bundles.face_files_folder(tmp_path / "cache")
            assert "SFace" in bundle.licences["faces"]
            assert not list((tmp_path / kind).rglob("*.onnx"))


def test_parts_that_nobody_trained_are_left_out_and_not_offered(tiny, face, tmp_path):
    parts = ("controlnets.canny", "controlnets.pose", "controlnets.depth", "style_adapter", "image_encoder")
    pack(tiny, tmp_path / "packed", trained=CARD, without=parts)
    bundle = opened(tmp_path / "packed", tmp_path / "cache")
    assert set(bundle.sources) == {"base", "identitynet", "identity_adapter"} == set(bundle.licences)
    assert not any((tmp_path / "packed" / part.split(".")[0]).exists() for part in parts)
    assert controls.usable(bundle) == () and not bundle.present(*bundles.STYLE_PARTS)
    engine = Engine.load(bundle, device="cpu")
    assert engine.generate(request(face)).images[0].size == (64, 64)
    for changes, told in (
        ({"controls": {"canny": 0.5}}, "canny"),
        ({"style_image": np.zeros((64, 64, 3))}, "style"),
    ):
        with pytest.raises(InstantIDError, match=told):
            engine.generate(request(face, pose_image=None, **changes))


@pytest.mark.parametrize(
    ("part", "told"), [("base", "No bundle works without base"), ("annotators.x", "no part")]
)
def test_what_cannot_be_left_out_is_told(tiny, tmp_path, part, told):
    with pytest.raises(BundleError, match=told):
        pack(tiny, tmp_path / "packed", without=[part])


# Opening it


def test_the_embedded_mini_opens_by_its_name_and_makes_pictures(embedded, face):
    engine = Engine.load("mini", device="cpu")
    result = engine.generate(request(face))
    assert result.bundle["untrained"] is False and np.asarray(result.images[0]).std() > 1
    assert [path.name for path in embedded.iterdir()] == [engine.bundle.folder.name]
    assert engine.bundle.folder.name.startswith("mini-")
    assert all(part.present for part in engine.bundle.parts())


def test_it_is_unpacked_once_and_without_torch(embedded, monkeypatch):
    def nobody(*args, **kwargs):
        raise AssertionError("it was made again")

    monkeypatch.setattr(loading, "open_bundle", nobody)  # the page is up before torch
    monkeypatch.setattr(bundles, "fetch", lambda *args, **kwargs: None)
    first = hosting.open_bundle("mini")
    assert first.trained == CARD
    monkeypatch.setattr(packed, "save_file", nobody)
    assert hosting.open_bundle("mini") == first


def test_other_weights_or_another_configuration_get_a_folder_of_their_own(tiny, copy, small, tmp_path):
    cache = tmp_path / "cache"
    assert opened(copy, cache).folder == opened(copy, cache).folder
    config = copy / "base" / "scheduler" / "scheduler_config.json"
    folders = [opened(copy, cache).folder]
    config.write_text(json.dumps(json.loads(config.read_text()) | {"steps_offset": 0}))
    folders.append(opened(copy, cache).folder)
    pack(tiny, copy, "fp16", trained=CARD)
    folders.append(opened(copy, cache).folder)
    assert len(set(folders)) == 3
    assert json.loads((folders[1] / config.relative_to(copy)).read_text())["steps_offset"] == 0


def test_versions_that_nobody_opened_for_long_go_when_a_new_one_comes(copy, tmp_path):
    cache, config = tmp_path / "cache", copy / "base" / "scheduler" / "scheduler_config.json"
    told, folders, long_ago = json.loads(config.read_text()), [], time.time() - packed.UNUSED - 60
    for offset in range(2):
        config.write_text(json.dumps(told | {"steps_offset": offset}))
        folders.append(opened(copy, cache).folder)
    others = [cache / name for name in ("mini-untrained-v5", "copied-0123456789ab")]
    for folder in others:
        folder.mkdir()
    for folder in (*folders, *others):
        os.utime(folder, (long_ago, long_ago))
    assert opened(copy, cache).folder == folders[1]
    config.write_text(json.dumps(told | {"steps_offset": 2}))
    new = opened(copy, cache).folder
    assert {*cache.iterdir()} == {new, folders[1], *others}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_unpacking_leaves_nothing_and_the_next_one_works(embedded, monkeypatch, error):
    def interrupted(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(packed, "save_file", interrupted)
        loading.open_bundle("mini")
    assert list(embedded.iterdir()) == []
    loading.load_pipeline(loading.open_bundle("mini"), torch.float32)


def test_who_comes_second_takes_what_the_quicker_one_unpacked(embedded, tmp_path, monkeypatch):
    def race(unfinished, home, real=os.replace):
        shutil.copytree(unfinished, home)
        real(unfinished, home)  # fails: the folder is there, and not empty

    monkeypatch.setattr(packed.os, "replace", race)
    bundle = loading.open_bundle("mini")
    assert all(part.present for part in bundle.parts())
    assert [path.name for path in embedded.iterdir()] == [bundle.folder.name]


def harmed(copy: Path, harm: str) -> None:
    file = next(iter(sorted(copy.rglob("*.safetensors"))))
    manifest = copy / "packed.json"
    if harm == "missing":
        file.unlink()
    elif harm == "cut short":
        file.write_bytes(file.read_bytes()[:-100])
    elif harm == "a pointer":
        file.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif harm == "no list":
        manifest.write_text("{")
    elif harm == "a list of something else":
        manifest.write_text('{"format": 1, "files": {"../secret.safetensors": "0"}}')
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 2}))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("missing", r"safetensors is missing\. Get the repository again"),
        ("cut short", "not the file that was packed"),
        ("a pointer", "Git LFS pointer"),
        ("no list", r"packed\.json cannot be read"),
        ("a list of something else", r"lists “\.\./secret\.safetensors”"),
        ("a newer format", "packed in format 2, this version reads 1"),
    ],
)
def test_damage_is_told_in_words_and_nothing_is_unpacked(copy, tmp_path, harm, told):
    harmed(copy, harm)
    with pytest.raises(BundleError, match=told):
        opened(copy, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_told_in_words(small, tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(BundleError, match=r"cannot be unpacked to .*XDG_CACHE_HOME chooses another place"):
        opened(small, tmp_path / "cache")


# What packing costs in pictures


def test_pictures_of_a_bundle_and_of_its_packed_form_are_compared(tiny, small, face, tmp_path):
    bundle = opened(small, tmp_path)
    requests = [request(face), request(face, seed=4, width=96)]
    same = compare_pictures(tiny, tiny, requests, device="cpu")
    assert same.mean == (0.0, 0.0) and same.sheet.size == (3 * 96, 2 * 64)
    apart = compare_pictures(tiny, bundle, requests, device="cpu")
    assert all(0 < mean < 20 for mean in apart.mean)
    assert apart.likeness == ([None, None], [None, None])
    shown = np.asarray(apart.sheet)[:64, :192].astype(int)
    assert np.abs(shown[:, :64] - shown[:, 64:128]).mean() == pytest.approx(apart.mean[0])
    with pytest.raises(ValueError, match="seed"):
        compare_pictures(tiny, bundle, [request(face, seed=None)])


# What the repository may hold (issue 5): light to clone, and light as a Space


def test_the_repository_stays_light():
    weights = [
        file
        for file in (ROOT / "assets").rglob("*")
        if file.suffix in {".safetensors", ".bin", ".onnx", ".pt", ".pth", ".ckpt"}
    ]
    assert sum(file.stat().st_size for file in weights) <= 36 * MB
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in tracked.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert max(file.stat().st_size for file in [*weights, *files]) <= 15 * MB
    assert sum(file.stat().st_size for file in {*weights, *files}) < 45 * MB
