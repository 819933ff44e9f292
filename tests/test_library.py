"""Weights that people already have: found in the folders of ComfyUI and A1111, by name; everything else refused."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from huggingface_hub import snapshot_download
from safetensors.torch import save_file
from standin_hub import serve

from instantid import bundles
from instantid.bundles import Hub, model_folders
from instantid.errors import BundleError, DownloadError
from instantid.library import Library

CHECKPOINT = {
    "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(2, 4, 3, 3),
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias": torch.zeros(1),
    "conditioner.embedders.1.model.ln_final.bias": torch.zeros(1),
    "first_stage_model.decoder.conv_in.weight": torch.zeros(2, 4, 3, 3),
}
SD15 = {
    "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(2, 4, 3, 3),
    "cond_stage_model.transformer.text_model.final_layer_norm.bias": torch.zeros(1),
}
LORA = {
    "lora_unet_mid.lora_down.weight": torch.zeros(2, 2),
    "lora_unet_mid.lora_up.weight": torch.zeros(2, 2),
}
VAE = {"decoder.conv_in.weight": torch.zeros(2, 4, 3, 3)}
EMBEDDING = {"clip_l": torch.zeros(1, 4), "clip_g": torch.zeros(1, 4)}

COMFY = {
    "checkpoints/dreamshaper.safetensors": CHECKPOINT,
    "checkpoints/xl/juggernaut v9.5.safetensors": CHECKPOINT,
    "loras/add-detail-xl.safetensors": LORA,
    "loras/people/film.safetensors": LORA,
    "loras/places/film.safetensors": LORA,
    "vae/sdxl_vae.safetensors": VAE,
    "embeddings/negative.safetensors": EMBEDDING,
    "controlnet/openpose.safetensors": VAE,
}
A1111 = {
    "models/Stable-diffusion/dreamshaper.safetensors": CHECKPOINT,
    "models/Stable-diffusion/xl/juggernaut v9.5.safetensors": CHECKPOINT,
    "models/Stable-diffusion/xl/juggernaut v9.5.vae.safetensors": VAE,
    "models/Lora/add-detail-xl.safetensors": LORA,
    "models/Lora/people/film.safetensors": LORA,
    "models/LyCORIS/places/film.safetensors": LORA,
    "models/VAE/sdxl_vae.safetensors": VAE,
    "embeddings/negative.safetensors": EMBEDDING,
    "models/ControlNet/openpose.safetensors": VAE,
}


def lay(folder: Path, files: dict[str, dict[str, torch.Tensor]]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(content, folder / name)
    return folder


@pytest.fixture
def comfy(tmp_path) -> Path:
    return lay(tmp_path / "ComfyUI" / "models", COMFY)


@pytest.fixture
def library(comfy, tmp_path) -> Library:
    return Library([comfy], hub=Hub(cache=tmp_path / "hub"), cache=tmp_path / "cache")


@pytest.mark.parametrize("program", ["ComfyUI", "ComfyUI/models", "A1111", "A1111/models"])
def test_the_folders_of_each_program_are_known_from_their_root_or_their_models(tmp_path, comfy, program):
    lay(tmp_path / "A1111", A1111)
    library = Library([tmp_path / program])
    assert library.names("checkpoints") == ["dreamshaper", "xl/juggernaut v9.5"]
    assert library.names("loras") == ["add-detail-xl", "people/film", "places/film"]
    beside = ["juggernaut v9.5.vae"] if program.startswith("A1111") else []
    assert library.names("vaes") == [*beside, "sdxl_vae"]
    outside = program == "A1111/models"  # A1111 keeps embeddings beside its models
    assert library.names("embeddings") == ([] if outside else ["negative"])
    assert library.find("checkpoints", "xl/juggernaut v9.5").name == "juggernaut v9.5.safetensors"


def test_in_any_other_folder_headers_tell_the_kinds(tmp_path):
    files = {
        "a.safetensors": CHECKPOINT,
        "sub/b.safetensors": LORA,
        "c.safetensors": VAE,
        "d.safetensors": SD15,
    }
    folder = lay(tmp_path / "downloads", files | {"e.safetensors": EMBEDDING})
    (folder / "half.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    library = Library([folder])
    kinds = ("checkpoints", "loras", "vaes", "embeddings")
    assert [library.names(kind) for kind in kinds] == [["a"], ["sub/b"], ["c"], ["e"]]


def test_names_are_found_with_and_without_suffix_and_by_their_last_word_where_that_is_enough(library, comfy):
    detail = comfy / "loras" / "add-detail-xl.safetensors"
    assert (
        library.find("loras", "add-detail-xl") == library.find("loras", "add-detail-xl.safetensors") == detail
    )
    assert library.find("checkpoints", "juggernaut v9.5").parent.name == "xl"
    assert library.find("loras", "people\\film") == comfy / "loras/people/film.safetensors"
    with pytest.raises(BundleError, match=r"“film” may be any of: people/film, places/film"):
        library.find("loras", "film")


def test_a_path_is_taken_as_it_is(library, tmp_path):
    file = lay(tmp_path / "elsewhere", {"mine.safetensors": LORA}) / "mine.safetensors"
    assert library.find("loras", str(file)) == file
    assert Library().find("loras", str(file)) == file


def test_a_misspelt_name_is_answered_with_close_ones(library):
    with pytest.raises(BundleError, match=r"no lora “add-detial-xl”.*Did you mean “add-detail-xl”"):
        library.find("loras", "add-detial-xl")
    with pytest.raises(BundleError, match=r"no lora “people/flim”.*Did you mean “people/film”"):
        library.find("loras", "people/flim")
    with pytest.raises(BundleError, match="no model folder given"):
        Library().find("loras", "film")


def test_whether_a_source_is_a_name_from_the_folders(library, tmp_path):
    file = lay(tmp_path / "elsewhere", {"mine.safetensors": LORA}) / "mine.safetensors"
    assert library.inside("dreamshaper") and library.inside("people/film") and library.inside("film")
    assert library.inside("dreamshaper", "checkpoints") and not library.inside("dreamshaper", "loras")
    for source in (str(file), "../elsewhere/mine", "owner/repo/file.safetensors", "", "/etc/passwd", "loras"):
        assert not library.inside(source)


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("checkpoints", SD15, "is an SD 1.5 checkpoint. InstantID takes an SDXL checkpoint here"),
        ("checkpoints", LORA, "is a LoRA"),
        ("checkpoints", {"x": torch.zeros(1)}, "not known here"),
        ("loras", CHECKPOINT, "is an SDXL checkpoint. InstantID takes a LoRA"),
        ("vaes", LORA, "is a LoRA"),
        ("embeddings", LORA, "is a LoRA"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, kind, content, words):
    file = lay(tmp_path, {"file.safetensors": content}) / "file.safetensors"
    with pytest.raises(BundleError, match=words):
        Library().find(kind, str(file))


def test_tensors_of_unknown_names_may_be_a_lora_or_an_embedding_and_a_checkpoint_has_a_vae(tmp_path):
    lay(tmp_path, {"odd.safetensors": {"x": torch.zeros(1)}, "whole.safetensors": CHECKPOINT})
    for kind, name in (("loras", "odd"), ("embeddings", "odd"), ("vaes", "whole")):
        assert Library().find(kind, str(tmp_path / f"{name}.safetensors")).stem == name


@pytest.mark.parametrize(
    ("kind", "home", "suffix"),
    [
        ("checkpoints", "checkpoints", ".ckpt"),
        ("loras", "loras", ".pt"),
        ("loras", "loras", ".bin"),
        ("vaes", "vae", ".pt"),
        ("embeddings", "embeddings", ".ckpt"),
    ],
)
def test_pickles_are_not_listed_and_refused_with_the_reason(library, comfy, kind, home, suffix):
    file = comfy / home / f"old{suffix}"
    torch.save({}, file)
    assert "old" not in library.names(kind)
    for source in ("old", str(file)):
        with pytest.raises(BundleError, match=r"pickle, which can run any code.*\.safetensors"):
            library.find(kind, source)


def test_embeddings_may_be_pickles_and_a_safe_one_of_the_same_name_comes_first(library, comfy):
    for name in ("negative", "old"):
        torch.save({}, comfy / "embeddings" / f"{name}.pt")
    assert library.names("embeddings") == ["negative", "old"]
    assert library.find("embeddings", "negative").suffix == ".safetensors"
    assert library.find("embeddings", "old").suffix == ".pt"


def test_of_equal_names_the_first_folder_s_counts(tmp_path, comfy):
    other = lay(tmp_path / "more", {"loras/add-detail-xl.safetensors": LORA, "loras/new.safetensors": LORA})
    library = Library([comfy, other])
    assert library.names("loras") == ["add-detail-xl", "new", "people/film", "places/film"]
    assert library.find("loras", "add-detail-xl").is_relative_to(comfy)
    assert Library([other, comfy]).find("loras", "add-detail-xl").is_relative_to(other)


def test_links_are_followed_once_hidden_and_dangling_files_are_not_listed(library, comfy, tmp_path):
    disk = lay(tmp_path / "disk", {"linked.safetensors": LORA, "sub/deep.safetensors": LORA})
    loras = comfy / "loras"
    (loras / "disk").symlink_to(disk)
    (loras / "round").symlink_to(loras)
    (disk / "back").symlink_to(loras)
    (loras / "nowhere.safetensors").symlink_to(tmp_path / "gone.safetensors")
    lay(loras, {".hidden.safetensors": LORA, ".cache/inside.safetensors": LORA})
    expected = ["add-detail-xl", "disk/linked", "disk/sub/deep", "people/film", "places/film"]
    assert library.names("loras") == expected


def test_what_is_put_there_meanwhile_is_found(library, comfy):
    lay(comfy, {"loras/fresh.safetensors": LORA})
    assert "fresh" in library.names("loras")


def test_a_disk_given_for_a_folder_of_models_is_told(comfy, library, monkeypatch):
    monkeypatch.setattr(model_folders, "MOST", 3)
    with pytest.raises(BundleError, match=r"holds more than 3 files"):
        library.names("loras")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BundleError, match=r"no folder .*gone"):
        Library([tmp_path / "gone"])


def test_folders_in_the_diffusers_layout_are_checkpoints(tiny, comfy, library):
    (comfy / "diffusers").mkdir()
    os.symlink(tiny / "base", comfy / "diffusers" / "mine")
    assert library.names("checkpoints") == ["dreamshaper", "mine", "xl/juggernaut v9.5"]
    assert library.names("vaes") == ["sdxl_vae"]
    assert library.find("checkpoints", "mine") == comfy / "diffusers" / "mine"
    assert library.find("vaes", str(tiny / "base" / "vae")).name == "vae"
    with pytest.raises(BundleError, match=r"no model_index\.json"):
        library.find("checkpoints", str(comfy))
    with pytest.raises(BundleError, match=r"folder with 1 \.safetensors|folder with \d"):
        library.find("loras", str(comfy))


def test_a_folder_of_one_file_stands_for_the_file(tmp_path):
    folder = lay(tmp_path / "lora", {"pytorch_lora_weights.safetensors": LORA})
    assert Library().find("loras", str(folder)) == folder / "pytorch_lora_weights.safetensors"


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as hub:
        yield hub


def published(content: dict[str, torch.Tensor], tmp_path: Path) -> bytes:
    return lay(tmp_path, {"published.safetensors": content}).joinpath("published.safetensors").read_bytes()


def test_a_place_on_the_hub_is_found_once_it_is_fetched(hub, library, tmp_path):
    old = hub.publish("who/lora", {"a.safetensors": published(LORA, tmp_path), "sub/b.safetensors": b""})
    here = {"hub": Hub(endpoint=hub.endpoint, cache=tmp_path / "hub"), "cache": tmp_path / "cache"}
    with pytest.raises(DownloadError, match=r"fetch --weights who/lora/a\.safetensors"):
        library.find("loras", "who/lora/a.safetensors")
    assert hub.asked == []
    [fetched] = bundles.fetch_weights(["who/lora/a.safetensors"], **here)
    assert library.find("loras", "who/lora/a.safetensors") == fetched
    hub.publish("who/lora", {"a.safetensors": b"changed"})
    assert bundles.fetch_weights(["who/lora/a.safetensors"], **here) == [fetched]
    assert old in fetched.parts


def test_what_another_program_fetched_from_the_hub_is_found(hub, library, tmp_path):
    hub.publish("who/lora", {"pytorch_lora_weights.safetensors": published(LORA, tmp_path)})
    snapshot_download("who/lora", endpoint=hub.endpoint, cache_dir=tmp_path / "hub")
    hub.asked.clear()
    for source in ("who/lora", "who/lora/pytorch_lora_weights.safetensors"):
        assert library.find("loras", source).name == "pytorch_lora_weights.safetensors"
    assert hub.asked == []


def test_a_repository_of_many_asks_which(hub, tmp_path):
    weights = published(LORA, tmp_path)
    hub.publish("who/loras", {"a.safetensors": weights, "b.safetensors": weights})
    here = {"hub": Hub(endpoint=hub.endpoint, cache=tmp_path / "hub"), "cache": tmp_path / "cache"}
    with pytest.raises(
        DownloadError, match=r"holds 2 files.*who/loras/a\.safetensors, who/loras/b\.safetensors"
    ):
        bundles.fetch_weights(["who/loras"], **here)
    assert hub.downloads("a.safetensors") == []
    with pytest.raises(BundleError, match="pickle"):
        bundles.fetch_weights(["who/loras/model.ckpt"], **here)
    with pytest.raises(BundleError, match="no place on the hub"):
        bundles.fetch_weights(["/tmp/lora.safetensors"], **here)


def test_parts_of_instantid_are_taken_from_comfyui(tmp_path, comfy):
    lay(
        comfy,
        {
            "controlnet/instantid/diffusion_pytorch_model.safetensors": VAE,
            "instantid/ip-adapter.safetensors": VAE,
            "ipadapter/ip-adapter_sdxl.safetensors": VAE,
            "ipadapter/ip-adapter-faceid_sdxl.bin": VAE,
            "vae/sdxl-vae-fp16-fix.safetensors": VAE,
            "loras/lcm-lora-sdxl.safetensors": LORA,
        },
    )
    packs = {
        "antelopev2": ("scrfd_10g_bnkps.onnx", "glintr100.onnx"),
        "buffalo_l": ("det_10g.onnx", "w600k_r50.onnx"),
    }
    faces, faceid_faces = (comfy / "insightface" / "models" / pack for pack in packs)
    for pack, names in packs.items():
        (comfy / "insightface" / "models" / pack).mkdir(parents=True)
        for name in names:
            (comfy / "insightface" / "models" / pack / name).write_bytes(b"12345678")
    sdxl = bundles.open_bundle("sdxl", cache=tmp_path, hub=Hub(cache=tmp_path / "hub"))
    bundle = Library([comfy]).complete(sdxl)
    here = {status.name: status.path for status in bundle.parts() if status.present}
    assert here["identitynet"] == comfy / "controlnet/instantid/diffusion_pytorch_model.safetensors"
    assert here["identity_adapter"] == comfy / "instantid/ip-adapter.safetensors"
    assert (here["faces"], here["faceid_faces"]) == (faces, faceid_faces)
    assert here["faceid_adapter"] == comfy / "ipadapter/ip-adapter-faceid_sdxl.bin"
    assert here["style_adapter"] == comfy / "ipadapter/ip-adapter_sdxl.safetensors"
    assert here["vae"] == comfy / "vae/sdxl-vae-fp16-fix.safetensors"
    assert not {"base", "image_encoder", "controlnets.pose"} & here.keys()
    assert bundle.licences == sdxl.licences and sdxl.identitynet.startswith("InstantX/")
    assert bundle.sources.keys() == sdxl.sources.keys()


def test_parts_of_instantid_are_taken_from_a1111(tmp_path):
    nets = "models/ControlNet"
    root = lay(
        tmp_path / "A1111",
        {
            f"{nets}/control_instant_id_sdxl.safetensors": VAE,
            f"{nets}/control_openpose_sdxl.safetensors": VAE,
            f"{nets}/ip-adapter_instant_id_sdxl.safetensors": VAE,
            f"{nets}/ip-adapter_sdxl_vit-h.safetensors": VAE,
        },
    )
    bundle = Library([root]).complete(
        bundles.open_bundle("sdxl", cache=tmp_path, hub=Hub(cache=tmp_path / "hub"))
    )
    here = {status.name: status.path.name for status in bundle.parts() if status.present}
    assert here == {
        "identitynet": "control_instant_id_sdxl.safetensors",
        "identity_adapter": "ip-adapter_instant_id_sdxl.safetensors",
    }


def test_a_damaged_part_and_those_of_other_bundles_are_left_alone(tmp_path, comfy, tiny):
    file = lay(comfy, {"controlnet/instantid.safetensors": VAE}) / "controlnet/instantid.safetensors"
    own = bundles.open_bundle(tiny).model_copy(update={"identitynet": "who/else"})
    assert Library([comfy]).complete(own).identitynet == "who/else"
    file.write_bytes(file.read_bytes()[:-1])
    sdxl = bundles.open_bundle("sdxl", cache=tmp_path, hub=Hub(cache=tmp_path / "hub"))
    assert Library([comfy]).complete(sdxl) == sdxl


NOWHERE = {"data_offsets": [0, 0], "shape": [], "dtype": "F32"}


@pytest.mark.parametrize("kind", ["checkpoints", "vaes", "loras", "embeddings"])
@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        {},
        {"a": {"data_offsets": [0, 8]}},
        {"a": {"data_offsets": ["0", None], "shape": [1], "dtype": "F32"}},
        {"a": {"data_offsets": [0, -8], "shape": [-1], "dtype": "F32"}},
        {
            "__metadata__": {"modelspec.architecture": 5},
            "a": {"data_offsets": [0, 8], "shape": [2], "dtype": "F32"},
        },
        dict.fromkeys(CHECKPOINT, NOWHERE),
        dict.fromkeys(VAE, NOWHERE),
    ],
)
def test_headers_made_to_do_harm_are_refused_in_words(tmp_path, kind, header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "gift.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(BundleError, match=r"gift\.safetensors"):
        Library().find(kind, str(path))
