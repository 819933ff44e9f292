"""The hub's cache as other programs left it, without a network; mirrors; a base's configuration alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from standin_hub import serve
from test_downloads import OTHER_PARTS, files_in, lock_of, weights

from instantid import bundles
from instantid.bundles import Hub
from instantid.errors import DownloadError

INDEX = {"_class_name": "P", "unet": ["diffusers", "U"], "tokenizer": ["t", "T"], "extra": [None, None]}
MODEL = {
    "model_index.json": json.dumps(INDEX).encode(),
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": weights(),
    "tokenizer/vocab.json": b"{}",
}
NET = {"config.json": b"{}", "model.safetensors": weights()}
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as hub:
        yield hub


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "hub"


def by_another_program(hub, cache, repo, **options):
    huggingface_hub.snapshot_download(repo, endpoint=hub.endpoint, cache_dir=cache, **options)


def open_with(tmp_path, cache, endpoint, **parts):
    folder = tmp_path / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "bundle.json").write_text(json.dumps({"name": "b", "base": "base"} | OTHER_PARTS | parts))
    return bundles.open_bundle(folder, hub=Hub(endpoint=endpoint, cache=cache))


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("who/model", sorted(MODEL)),
        ("who/net", sorted(NET)),
        ("who/net/model.safetensors", []),
        ("who/net/{config.json}", sorted(NET)),
    ],
)
def test_what_another_program_fetched_is_used_without_a_network(hub, tmp_path, cache, source, files):
    commit = {repo: hub.publish(repo, content) for repo, content in (("who/model", MODEL), ("who/net", NET))}
    for repo in commit:
        by_another_program(hub, cache, repo)
    bundle = open_with(tmp_path, cache, NOBODY, base=source)
    bundles.fetch(bundle, ["base"])
    assert files_in(bundle.require("base")) == files
    entry = lock_of(bundle)["base"]
    assert entry["commit"] == commit["/".join(source.split("/")[:2])]
    sha256 = [at["sha256"] for name, at in entry["files"].items() if name.endswith(".safetensors")]
    assert all(value is not None and len(value) == 64 for value in sha256)


def test_offline_mode_takes_the_cache_too(hub, tmp_path, cache, monkeypatch):
    hub.publish("who/net", NET)
    by_another_program(hub, cache, "who/net")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    bundle = open_with(tmp_path, cache, hub.endpoint, base="who/net")
    hub.asked.clear()
    bundles.fetch(bundle, ["base"])
    assert bundle.require("base").is_dir() and hub.asked == []


def test_what_is_whole_here_is_not_fetched_anew_because_its_publisher_went_on(hub, tmp_path, cache):
    old = hub.publish("who/net", NET)
    by_another_program(hub, cache, "who/net")
    hub.publish("who/net", NET | {"model.safetensors": weights(seed=1)})
    bundle = open_with(tmp_path, cache, hub.endpoint, base="who/net")
    hub.asked.clear()
    bundles.fetch(bundle, ["base"])
    assert lock_of(bundle)["base"]["commit"] == old
    assert hub.downloads("model.safetensors") == []


def test_full_precision_that_is_here_spares_the_half_that_is_not(hub, tmp_path, cache):
    hub.publish("who/net", NET | {"model.fp16.safetensors": weights(seed=2)})
    by_another_program(hub, cache, "who/net", ignore_patterns=["*.fp16.*"])
    bundle = open_with(tmp_path, cache, hub.endpoint, base="who/net")
    bundles.fetch(bundle, ["base"])
    assert files_in(bundle.require("base")) == sorted(NET)


def test_a_repository_that_is_gone_is_taken_from_the_cache(hub, tmp_path, cache):
    hub.publish("who/net", NET)
    by_another_program(hub, cache, "who/net")
    hub.refusals["who/net"] = (404, "RepoNotFound")
    bundle = open_with(tmp_path, cache, hub.endpoint, base="who/net")
    bundles.fetch(bundle, ["base"])
    assert bundle.require("base").is_dir()


@pytest.mark.parametrize(
    ("repo", "left_out"),
    [
        ("who/model", "unet/*"),
        ("who/model", "unet/*.safetensors"),
        ("who/model", "tokenizer/*"),
        ("who/model", "model_index.json"),
        ("who/net", "*.safetensors"),
        ("who/shards", "*-00002-of-00002.safetensors"),
    ],
)
def test_half_a_repository_in_the_cache_is_not_taken_for_whole(hub, tmp_path, cache, repo, left_out):
    shards = {f"model-0000{i}-of-00002.safetensors": weights(seed=i) for i in (1, 2)}
    hub.publish("who/shards", {"config.json": b"{}", "model.safetensors.index.json": b"{}"} | shards)
    hub.publish("who/model", MODEL)
    hub.publish("who/net", NET)
    by_another_program(hub, cache, repo, ignore_patterns=[left_out])
    alone = open_with(tmp_path, cache, NOBODY, base=repo)
    with pytest.raises(DownloadError, match="cannot be reached"):
        bundles.fetch(alone, ["base"])
    bundle = open_with(tmp_path, cache, hub.endpoint, base=repo)
    bundles.fetch(bundle, ["base"])
    assert len(files_in(bundle.require("base"))) == len(hub.repos[repo][lock_of(bundle)["base"]["commit"]])


def test_a_damaged_file_in_the_cache_is_not_taken(hub, tmp_path, cache):
    hub.publish("who/net", NET)
    by_another_program(hub, cache, "who/net")
    file = next((cache / "models--who--net").rglob("snapshots/*/model.safetensors"))
    with file.open("r+b") as stream:
        stream.truncate(1000)
    with pytest.raises(DownloadError, match="cannot be reached"):
        bundles.fetch(open_with(tmp_path, cache, NOBODY, base="who/net"), ["base"])


def test_a_revision_is_taken_from_the_cache_by_its_name_or_commit(hub, tmp_path, cache):
    commit = hub.publish("who/net", NET)
    by_another_program(hub, cache, "who/net", revision=commit)
    bundle = open_with(tmp_path, cache, NOBODY, base=f"who/net@{commit}")
    bundles.fetch(bundle, ["base"])
    assert lock_of(bundle)["base"]["commit"] == commit
    with pytest.raises(DownloadError, match="cannot be reached"):  # nobody has asked for main here
        bundles.fetch(open_with(tmp_path, cache, NOBODY, base="who/net"), ["base"])


def test_of_a_base_config_only_the_texts_are_fetched(hub, tmp_path, cache):
    hub.publish("who/model", MODEL)
    bundle = open_with(tmp_path, cache, hub.endpoint, base_config="who/model")
    bundles.fetch(bundle, ["base_config"])
    texts = ["model_index.json", "tokenizer/vocab.json", "unet/config.json"]
    assert files_in(bundle.require("base_config")) == texts
    assert hub.downloads("diffusion_pytorch_model.safetensors") == []


FETCH = """
import sys
from instantid import bundles
bundle = bundles.open_bundle(sys.argv[1])
bundles.fetch(bundle, ["base"])
print(bundle.require("base"))
"""


def test_hf_endpoint_and_hf_home_choose_a_mirror_and_a_place(hub, tmp_path, cache):
    hub.publish("who/net", NET)
    bundle = open_with(tmp_path, None, None, base="who/net")
    home = tmp_path / "elsewhere"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    run = subprocess.run(
        [sys.executable, "-c", FETCH, str(bundle.folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()).is_relative_to(home / "hub")
    assert hub.downloads("model.safetensors") == [None]
