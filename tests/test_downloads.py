import hashlib
import json
import random
import struct
from collections import namedtuple

import pytest
from huggingface_hub import constants
from standin_hub import serve

from instantid import bundles
from instantid.bundles import Hub
from instantid.bundles.published import UNION
from instantid.errors import BundleError, DownloadError

OTHER_PARTS = {"identitynet": "net", "identity_adapter": "adapter.bin"}


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 16_384)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as hub:
        yield hub


@pytest.fixture
def opened(hub, tmp_path):
    """Opens a bundle whose base is `source`; `machine` has a hub cache of its own."""

    def open_with(source, machine="here", endpoint=None):
        folder = tmp_path / "bundle"
        folder.mkdir(exist_ok=True)
        (folder / "bundle.json").write_text(json.dumps({"name": "b", "base": source, **OTHER_PARTS}))
        cache = tmp_path / machine
        return bundles.open_bundle(folder, hub=Hub(endpoint=endpoint or hub.endpoint, cache=cache))

    return open_with


def weights(size=60_000, seed=0):
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(size)


def files_in(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def lock_of(bundle):
    return json.loads(bundle.lock.read_text())["parts"]


def test_only_what_a_loader_needs_is_fetched(hub, opened):
    model_index = {
        "_class_name": "P",
        "unet": ["diffusers", "U"],
        "tokenizer": ["t", "T"],
        "extra": [None, None],
    }
    needed = {
        "model_index.json": json.dumps(model_index).encode(),
        "unet/config.json": b"{}",
        "unet/diffusion_pytorch_model.fp16.safetensors": weights(),
        "tokenizer/vocab.json": b"{}",
        "tokenizer/merges.txt": b"#",
    }
    others = {
        "README.md": b"hello",
        "sd_xl_base_1.0.safetensors": weights(seed=1),
        "unet/diffusion_pytorch_model.safetensors": weights(seed=2),
        "unet/diffusion_pytorch_model.bin": b"PK",
        "unet/model.onnx": b"onnx",
        "unet/flax_model.msgpack": b"flax",
        "vae_1_0/diffusion_pytorch_model.safetensors": weights(seed=3),
    }
    hub.publish("who/model", needed | others)
    bundle = opened("who/model")
    bundles.fetch(bundle, ["base"])
    assert files_in(bundle.require("base")) == sorted(needed)


def test_a_pickle_is_taken_where_the_loader_finds_nothing_else(hub, opened):
    hub.publish(
        "who/net",
        {
            "config.json": b"{}",
            "diffusion_pytorch_model.bin": b"x" * 30_000,
            "OpenPoseXL2.safetensors": weights(),
        },
    )
    bundle = opened("who/net")
    bundles.fetch(bundle, ["base"])
    assert files_in(bundle.require("base")) == ["config.json", "diffusion_pytorch_model.bin"]


def test_of_the_union_model_the_plain_weights_are_fetched(hub, opened):
    plain, promax = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model_promax.safetensors"
    texts = {"config.json": b"{}", "config_promax.json": b"{}", "README.md": b"hello"}
    hub.publish(UNION["source"], texts | {plain: weights(seed=1), promax: weights(seed=2)})
    bundle = opened(UNION["source"])
    bundles.fetch(bundle, ["base"])
    assert files_in(bundle.require("base")) == ["config.json", "config_promax.json", plain]


@pytest.mark.parametrize(
    ("source", "path", "files"),
    [
        ("who/faces/sub/{a.onnx,b.onnx}", "sub", ["a.onnx", "b.onnx"]),
        ("who/faces/sub/c.onnx", "sub/c.onnx", []),
        ("who/faces/net", "net", ["config.json", "model.safetensors"]),
    ],
)
def test_a_part_can_be_some_files_one_file_or_a_folder(hub, opened, source, path, files):
    names = ["sub/a.onnx", "sub/b.onnx", "sub/c.onnx", "net/config.json", "net/pytorch_model.bin"]
    hub.publish("who/faces", dict.fromkeys(names, b"12345678") | {"net/model.safetensors": weights()})
    bundle = opened(source)
    bundles.fetch(bundle, ["base"])
    assert str(bundle.require("base")).endswith(path)
    assert files_in(bundle.require("base")) == files


def test_the_first_fetch_pins_the_commit_for_every_later_one(hub, opened):
    first = hub.publish("who/net", {"config.json": b"1", "model.safetensors": weights(seed=1)})
    bundle = opened("who/net")
    bundles.fetch(bundle, ["base"])
    entry = lock_of(bundle)["base"]
    assert entry["commit"] == first
    assert entry["files"]["config.json"] == {"size": 1, "sha256": None}
    assert len(entry["files"]["model.safetensors"]["sha256"]) == 64

    hub.publish("who/net", {"config.json": b"2", "model.safetensors": weights(seed=2)})
    elsewhere = opened("who/net", machine="there")
    bundles.fetch(elsewhere, ["base"])
    assert (elsewhere.require("base") / "config.json").read_bytes() == b"1"


def test_another_source_is_pinned_anew(hub, opened):
    hub.publish("who/net", {"config.json": b"1"})
    old = hub.publish("who/net", {"config.json": b"2"})
    hub.publish("who/net", {"config.json": b"3"})
    bundles.fetch(opened("who/net"), ["base"])
    bundle = opened(f"who/net@{old}")
    with pytest.raises(DownloadError, match="not been fetched yet"):
        bundle.require("base")
    bundles.fetch(bundle, ["base"])
    assert (bundle.require("base") / "config.json").read_bytes() == b"2"


def test_what_is_here_is_not_asked_for_again(hub, opened):
    hub.publish("who/net", {"config.json": b"1", "model.safetensors": weights()})
    bundles.fetch(opened("who/net"), ["base"])
    hub.asked.clear()
    bundles.fetch(opened("who/net"), ["base"])
    assert hub.asked == []


def test_a_stopped_fetch_goes_on_where_it_stopped(hub, opened):
    hub.publish("who/net", {"model.safetensors": weights(200_000)})
    bundle = opened("who/net")

    def stop_halfway(part, done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bundles.fetch(bundle, ["base"], on_progress=stop_halfway)
    with pytest.raises(DownloadError, match=r"model\.safetensors missing or cut short.*fetch --bundle"):
        bundle.require("base")

    seen = []
    bundles.fetch(bundle, ["base"], on_progress=lambda part, done, total: seen.append(done))
    asked_for = hub.downloads("model.safetensors")[-1]
    assert int(asked_for.removeprefix("bytes=").rstrip("-")) > 80_000
    assert seen[0] > 80_000
    assert (bundle.require("base") / "model.safetensors").read_bytes() == weights(200_000)


def test_a_dropped_connection_is_taken_up_again(hub, opened):
    hub.publish("who/net", {"model.safetensors": weights(200_000)})
    hub.drops.append("model.safetensors")
    bundle = opened("who/net")
    bundles.fetch(bundle, ["base"])
    assert [span is None for span in hub.downloads("model.safetensors")] == [True, False]
    assert (bundle.require("base") / "model.safetensors").read_bytes() == weights(200_000)


def test_progress_counts_every_byte_of_the_part_once(hub, opened):
    files = {"config.json": b"{}", "model.safetensors": weights(100_000)}
    hub.publish("who/net", files)
    seen = []
    bundles.fetch(opened("who/net"), ["base"], on_progress=lambda *at: seen.append(at))
    total = sum(map(len, files.values()))
    done = [at[1] for at in seen]
    assert {(at[0], at[2]) for at in seen} == {("base", total)}
    assert done == sorted(done) and done[-1] == total and len(set(done)) > 4


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_truncated_file_is_seen_and_mended(hub, opened, name):
    files = {"config.json": b'{"small": true}', "model.safetensors": weights()}
    hub.publish("who/net", files)
    bundle = opened("who/net")
    bundles.fetch(bundle, ["base"])
    file = bundle.require("base") / name
    with file.open("r+b") as stream:
        stream.truncate(len(files[name]) // 2)
    with pytest.raises(DownloadError, match=f"{name} missing or cut short"):
        bundle.require("base")
    status = next(part for part in bundle.parts() if part.name == "base")
    assert not status.present and "cut short" in status.problem
    assert status.size == sum(map(len, files.values()))
    bundles.fetch(bundle, ["base"])
    assert file.read_bytes() == files[name]


def test_a_left_over_that_is_too_long_is_begun_anew(hub, opened):
    hub.publish("who/net", {"model.safetensors": weights()})
    bundle = opened("who/net")
    sha256 = hashlib.sha256(weights()).hexdigest()
    left_over = bundle.hub.folder / "models--who--net" / "blobs" / f"{sha256}.instantid-part"
    left_over.parent.mkdir(parents=True)
    left_over.write_bytes(bytes(len(weights()) + 1))
    bundles.fetch(bundle, ["base"])
    assert (bundle.require("base") / "model.safetensors").read_bytes() == weights()


def test_bytes_damaged_on_the_way_are_not_kept(hub, opened):
    hub.publish("who/net", {"model.safetensors": weights()})
    hub.corrupt.add("model.safetensors")
    bundle = opened("who/net")
    with pytest.raises(DownloadError, match="damaged on the way: its sha256"):
        bundles.fetch(bundle, ["base"])
    hub.corrupt.clear()
    bundles.fetch(bundle, ["base"])
    assert hub.downloads("model.safetensors") == [None, None]
    assert (bundle.require("base") / "model.safetensors").read_bytes() == weights()


def test_no_room_is_said_in_numbers_before_anything_large_is_fetched(hub, opened, monkeypatch):
    hub.publish("who/net", {"model.safetensors": weights()})
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9 - 5, 5))
    with pytest.raises(
        DownloadError, match=r"0\.00 GB are still to be fetched into .* 0\.00 GB free.*HF_HOME"
    ):
        bundles.fetch(opened("who/net"), ["base"])
    assert hub.downloads("model.safetensors") == []


def test_a_full_disk_halfway_is_said(hub, opened, monkeypatch):
    hub.publish("who/net", {"model.safetensors": weights()})

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(DownloadError, match=r"cannot be stored: .*No space left"):
        bundles.fetch(opened("who/net"), ["base"])


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((404, "RepoNotFound"), "has no who/net"),
        ((401, ""), "private, or there is none of that name.*hf auth login"),
        ((403, "GatedRepo"), "gated: ask for access at .*who/net"),
        ((403, ""), "does not show who/net"),
        ((404, "RevisionNotFound"), "no longer has the commit"),
        ((500, ""), r"answered 500.*HF_ENDPOINT"),
    ],
)
def test_each_refusal_says_what_to_do(hub, opened, refusal, words):
    hub.refusals["who/net"] = refusal
    with pytest.raises(DownloadError, match=words):
        bundles.fetch(opened("who/net"), ["base"])


@pytest.mark.parametrize("source", ["who/net/nothing", "who/net/{config.json,gone.onnx}"])
def test_a_file_that_the_repository_lacks_is_named(hub, opened, source):
    hub.publish("who/net", {"config.json": b"{}"})
    with pytest.raises(DownloadError, match=r"nothing|gone\.onnx"):
        bundles.fetch(opened(source), ["base"])


def test_no_network_says_how_to_do_without(opened):
    with pytest.raises(
        DownloadError, match=r"cannot be reached .*HF_HUB_OFFLINE.*HF_ENDPOINT.*bundle folder"
    ):
        bundles.fetch(opened("who/net", endpoint="http://127.0.0.1:1"), ["base"])


def test_offline_mode_says_so_and_serves_what_is_here(hub, opened, monkeypatch):
    hub.publish("who/net", {"config.json": b"{}"})
    hub.publish("who/other", {"config.json": b"{}"})
    bundles.fetch(opened("who/net"), ["base"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    bundles.fetch(opened("who/net"), ["base"])
    with pytest.raises(DownloadError, match="unset HF_HUB_OFFLINE"):
        bundles.fetch(opened("who/other"), ["base"])


def test_a_hub_that_names_files_outside_the_repository_is_not_followed(hub, opened, tmp_path):
    precious = tmp_path / "precious.json"
    precious.write_text("mine")
    escape = "../" * 4 + "precious.json"
    index = json.dumps({"unet": ["d", "U"], "../../../..": ["d", "U"]}).encode()
    hub.publish("who/net", {"model_index.json": index, "unet/config.json": b"{}", escape: b"theirs"})
    bundle = opened("who/net")
    bundles.fetch(bundle, ["base"])
    assert precious.read_text() == "mine"
    assert files_in(bundle.require("base")) == ["model_index.json", "unet/config.json"]


def test_a_damaged_lock_is_named(hub, opened):
    bundle = opened("who/net")
    bundle.lock.write_text('{"parts": {"base": 3}}')
    with pytest.raises(DownloadError, match=r"bundle\.lock\.json cannot be read"):
        bundle.require("base")


def test_fetching_everything_reports_a_local_part_that_is_missing(hub, opened):
    hub.publish("who/net", {"config.json": b"{}"})
    with pytest.raises(BundleError, match=r"identitynet.*nothing at"):
        bundles.fetch(opened("who/net"))
