"""A bundle in one folder, for machines without a network: all that is needed, nothing else, and the same models."""

import json
import shutil
import socket
from collections import namedtuple

import pytest
import torch
from standin_hub import serve
from test_downloads import files_in, weights
from test_hub_cache import MODEL, NET

from instantid import bundles, loading
from instantid.bundles import Hub
from instantid.errors import BundleError


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """A bundle of parts from the hub, in each way that parts are written, all fetched but one."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "local.bin").write_bytes(b"12345678")
    description = {
        "name": "mine",
        "base": "who/model",
        "identitynet": "who/parts/net",
        "identity_adapter": "local.bin",
        "faces": {"kind": "insightface", "path": "who/parts/{a.onnx,b.onnx}"},
        "faceid_adapter": "local.bin",
        "faceid_faces": {"kind": "insightface", "path": "who/parts/{b.onnx,c.onnx}"},
        "controlnets": {"canny": "who/parts/net", "depth": "who/parts/none"},
        "loras": {"lcm": "who/parts/lcm.safetensors"},
        "licences": {"base": "MIT", "controlnets.canny": "“Own”"},
        "defaults": {"steps": 7},
    }
    (folder / "bundle.json").write_text(json.dumps(description))
    with serve() as hub:
        hub.publish("who/model", MODEL | {"README.md": b"hello", "unet/model.onnx": b"onnx"})
        names = {f"net/{name}": content for name, content in NET.items()}
        hub.publish(
            "who/parts",
            names
            | dict.fromkeys(("a.onnx", "b.onnx", "c.onnx"), b"12345678")
            | {"lcm.safetensors": weights()},
        )
        bundle = bundles.open_bundle(folder, hub=Hub(endpoint=hub.endpoint, cache=tmp_path / "hub"))
        bundles.fetch(bundle, [part for part in bundle.sources if part != "controlnets.depth"])
    return bundle


def test_an_exported_bundle_is_whole_without_hub_cache_or_lock(fetched, tmp_path):
    copied = bundles.export(fetched, tmp_path / "stick" / "mine")
    before = {status.name: status for status in fetched.parts()}
    shutil.rmtree(tmp_path / "hub")
    shutil.rmtree(tmp_path / "bundle")
    moved = (tmp_path / "stick" / "mine").rename(tmp_path / "moved")
    bundle = bundles.open_bundle(moved, hub=Hub(endpoint="http://127.0.0.1:1", cache=tmp_path / "none"))
    after = {status.name: status for status in bundle.parts()}
    assert tuple(after) == copied == tuple(name for name in before if name != "controlnets.depth")
    assert all(status.present and status.path.is_relative_to(moved) for status in after.values())
    assert {name: status.size for name, status in after.items()} == {
        name: before[name].size for name in after
    }
    assert files_in(bundle.require("base")) == sorted(MODEL)
    assert files_in(bundle.require("faces")) == ["a.onnx", "b.onnx"]
    assert files_in(bundle.require("faceid_faces")) == ["b.onnx", "c.onnx"]
    assert bundle.require("loras.lcm").read_bytes() == weights()
    assert (bundle.name, bundle.defaults.steps, bundle.licences) == ("mine", 7, fetched.licences)
    told = (moved / "LICENCES.md").read_text()
    assert "base (who/model): MIT" in told and "“Own”" in told and "depth" not in told


def test_an_exported_bundle_makes_the_same_models_without_a_network(tiny, tmp_path, monkeypatch):
    bundles.export(bundles.open_bundle(tiny), tmp_path / "out")

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    one, other = (
        loading.load_pipeline(bundles.open_bundle(folder), torch.float32)
        for folder in (tiny, tmp_path / "out")
    )
    for name in ("unet", "vae", "text_encoder", "text_encoder_2", "controlnet"):
        has, wanted = (getattr(each, name).state_dict() for each in (other, one))
        assert has.keys() == wanted.keys() and all(torch.equal(has[key], wanted[key]) for key in wanted)
    assert other.tokenizer.get_vocab() == one.tokenizer.get_vocab()


def test_of_a_base_config_only_the_texts_go_along(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    described = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(described | {"base_config": "base"}))
    bundles.export(bundles.open_bundle(copy), tmp_path / "out")
    names = files_in(tmp_path / "out" / "base_config")
    assert "unet/config.json" in names and not any(name.endswith(".safetensors") for name in names)


def test_a_bundle_that_is_not_all_here_is_not_exported(fetched, tmp_path):
    (tmp_path / "bundle" / "local.bin").unlink()
    with pytest.raises(BundleError, match=r"identity_adapter missing\. Run: .*fetch --bundle"):
        bundles.export(fetched, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(fetched, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(BundleError, match="in use"):
        bundles.export(fetched, tmp_path / "out")
    (tmp_path / "out" / "precious").unlink()
    bundles.export(fetched, tmp_path / "out")
    assert (tmp_path / "out" / "bundle.json").is_file()


def test_no_room_is_said_in_numbers_and_nothing_is_left(fetched, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9 - 5, 5))
    with pytest.raises(BundleError, match=r"Not enough disk space: the bundle takes 0\.00 GB"):
        bundles.export(fetched, tmp_path / "stick" / "out")
    assert list((tmp_path / "stick").iterdir()) == []
