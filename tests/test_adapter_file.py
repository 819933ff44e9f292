"""Adapter files, the style's and FaceID's: published forms, and everything else refused by what it is."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from instantid import adapter_file, bundles, loading, mini
from instantid.errors import BundleError
from instantid.mini import adapters

Weights = dict[str, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def unet(tiny):
    """Of two levels and 64-wide cross-attention, without adapters."""
    return loading.load_pipeline(bundles.open_bundle(tiny), torch.float32).unet


@pytest.fixture(scope="module")
def published(tiny) -> Path:
    return tiny / "ip-adapter-style.safetensors"


@pytest.fixture
def weights(published) -> Weights:
    return adapter_file.read_style_adapter(published)


def test_both_published_forms_hold_the_same(published, weights, tmp_path):
    torch.save(weights, tmp_path / "ip-adapter_sdxl.bin")
    pickled = adapter_file.read_style_adapter(tmp_path / "ip-adapter_sdxl.bin")
    flat = load_file(published)
    assert len(flat) == sum(map(len, pickled.values())) == sum(map(len, weights.values()))
    for part, tensors in pickled.items():
        assert all(torch.equal(tensor, flat[f"{part}.{key}"]) for key, tensor in tensors.items())


def test_it_fits_a_unet_before_and_after_adapters_changed_it(tiny, weights, published):
    pipeline = loading.load_pipeline(bundles.open_bundle(tiny), torch.float32)
    identity = adapter_file.read_adapter(tiny / "ip-adapter.bin")
    for _ in range(2):
        adapter_file.check_style_fit(weights, pipeline.unet, published)
        adapter_file.check_fit(identity, pipeline.unet, published)
        pipeline.load_ip_adapter(
            [identity, weights], subfolder=None, weight_name=[None, None], image_encoder_folder=None
        )
    assert adapter_file.style_width(weights) == 32


def test_the_published_shape_fits_sdxl(sdxl_unet):
    """Shapes as in h94/IP-Adapter's sdxl_models: 1280 → 4 × 2048, or 1024 for vit-h."""
    keys = {}
    for number, name in enumerate(sdxl_unet.attn_processors):
        if name.endswith("attn2.processor"):
            hidden = sdxl_unet.get_submodule(name.removesuffix(".processor")).to_q.in_features
            keys |= {f"{number}.{key}.weight": torch.empty(hidden, 2048, device="meta") for key in TO_KEYS}
    assert list(keys)[:2] == ["1.to_k_ip.weight", "1.to_v_ip.weight"] and len(keys) == 140
    for width in (1280, 1024):
        weights = {"image_proj": projector(width, 2048), "ip_adapter": keys}
        adapter_file.check_style_fit(weights, sdxl_unet, Path("ip-adapter_sdxl.safetensors"))
        assert adapter_file.style_width(weights) == width


TO_KEYS = ("to_k_ip", "to_v_ip")


def projector(width: int, tokens_width: int, tokens: int = 4) -> dict[str, torch.Tensor]:
    return {
        "proj.weight": torch.empty(tokens * tokens_width, width, device="meta"),
        "proj.bias": torch.empty(tokens * tokens_width, device="meta"),
        "norm.weight": torch.empty(tokens_width, device="meta"),
        "norm.bias": torch.empty(tokens_width, device="meta"),
    }


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("latents", "an InstantID adapter or an IP-Adapter Plus"),
        ("perceiver_resampler.proj_in.weight", "an IP-Adapter FaceID Plus"),
        ("proj.3.weight", "an IP-Adapter for full faces"),
        ("proj.0.weight", "an IP-Adapter FaceID"),
    ],
)
def test_other_kinds_of_adapter_are_called_by_their_names(weights, unet, published, key, words):
    other = {"norm.weight": torch.zeros(64), "norm.bias": torch.zeros(64), key: torch.zeros(8, 8)}
    with pytest.raises(BundleError, match=rf"{words}\. A style picture takes a plain IP-Adapter for SDXL"):
        adapter_file.check_style_fit(weights | {"image_proj": other}, unet, published)


def test_the_identity_adapter_is_no_style_adapter_nor_the_other_way_round(tiny, unet, weights, published):
    identity = adapter_file.read_style_adapter(tiny / "ip-adapter.bin")
    with pytest.raises(BundleError, match=r"ip-adapter\.bin is an InstantID adapter"):
        adapter_file.check_style_fit(identity, unet, tiny / "ip-adapter.bin")
    with pytest.raises(BundleError, match="lacks latents"):
        adapter_file.check_fit(weights, unet, published)


def changed(part: str, key: str, *shape: int) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {part: weights[part] | {key: torch.zeros(shape)}}


def without(part: str, key: str) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {part: {k: v for k, v in weights[part].items() if k != key}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda weights: weights | {"image_proj": projector(1024, 768)},
            "width 768, this base model wants 64",
        ),
        (
            lambda weights: weights | {"image_proj": projector(32, 64, tokens=8)},
            r"4 tokens.*\(512,\), wanted",
        ),
        (without("image_proj", "proj.weight"), "lacks proj.weight"),
        (without("image_proj", "norm.bias"), r"norm\.bias \(the file has nothing"),
        (changed("image_proj", "proj.weight"), r"proj\.weight \(the file has \(\), wanted"),
        (changed("image_proj", "more", 3), r"more \(the file has \(3,\), wanted is nothing"),
        (without("ip_adapter", "1.to_k_ip.weight"), r"1 of its attention weights differ.* 1\.to_k_ip"),
        (
            changed("ip_adapter", "1.to_k_ip.weight", 64, 768),
            r"1\.to_k_ip\.weight \(the file has \(64, 768\)",
        ),
        (changed("ip_adapter", "1.to_k_lora.down.weight", 8, 64), r"1\.to_k_lora"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_weight_and_the_file(weights, unet, published, change, words):
    with pytest.raises(BundleError, match=rf"ip-adapter-style\.safetensors .*{words}"):
        adapter_file.check_style_fit(change(weights), unet, published)


def test_an_adapter_for_another_unet_is_refused(weights, sdxl_unet, published):
    with pytest.raises(BundleError, match="width 64, this base model wants 2048"):
        adapter_file.check_style_fit(weights, sdxl_unet, published)


class Trap:
    """A pickle of this runs a command where it is loaded without care."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return Path.mkdir, (self.folder,)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    path = tmp_path / "ip-adapter_sdxl.bin"
    torch.save({"image_proj": Trap(tmp_path / "sprung"), "ip_adapter": {}}, path)
    with pytest.raises(BundleError, match=r"could run code.*ip-adapter_sdxl\.safetensors"):
        adapter_file.read_style_adapter(path)
    assert not (tmp_path / "sprung").exists()


def test_what_is_missing_damaged_or_something_else_is_told_as_the_style_adapters(tmp_path, published):
    with pytest.raises(BundleError, match=r"The style adapter .*gone\.bin is missing"):
        adapter_file.read_style_adapter(tmp_path / "gone.bin")
    (tmp_path / "short.safetensors").write_bytes(published.read_bytes()[:5000])
    with pytest.raises(BundleError, match=r"short\.safetensors cannot be read; it looks damaged"):
        adapter_file.read_style_adapter(tmp_path / "short.safetensors")
    save_file({"lora.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(BundleError, match="no 'image_proj' weights: it is no IP-Adapter file"):
        adapter_file.read_style_adapter(tmp_path / "other.safetensors")


# FaceID's


@pytest.fixture(scope="module")
def faceid(unet) -> Weights:
    with torch.random.fork_rng():
        attention = adapters.image_attention(mini.TINY, unet) | adapters.faceid_lora(unet)
        return {"image_proj": adapters.faceid_projector(mini.TINY), "ip_adapter": attention}


def test_faceid_s_published_shape_fits_sdxl_and_its_lora_reaches_every_attention(sdxl_unet):
    """As in h94/IP-Adapter-FaceID's ip-adapter-faceid_sdxl.bin: 512 → 1024 → 4 × 2048, and a LoRA of rank 128."""
    keys = {}
    for number, name in enumerate(sdxl_unet.attn_processors):
        attention = sdxl_unet.get_submodule(name.removesuffix(".processor"))
        hidden, context = attention.to_q.in_features, attention.to_k.in_features
        for part, into in (("q", hidden), ("k", context), ("v", context), ("out", hidden)):
            keys[f"{number}.to_{part}_lora.down.weight"] = torch.empty(128, into, device="meta")
            keys[f"{number}.to_{part}_lora.up.weight"] = torch.empty(hidden, 128, device="meta")
        if name.endswith("attn2.processor"):
            keys |= {f"{number}.{key}.weight": torch.empty(hidden, 2048, device="meta") for key in TO_KEYS}
    sizes = {"proj.0": (1024, 512), "proj.2": (8192, 1024), "norm": (2048,)}
    projector = {f"{name}.weight": torch.empty(size, device="meta") for name, size in sizes.items()}
    projector |= {f"{name}.bias": torch.empty(size[0], device="meta") for name, size in sizes.items()}
    weights = {"image_proj": projector, "ip_adapter": keys}
    adapter_file.check_faceid_fit(weights, sdxl_unet, Path("ip-adapter-faceid_sdxl.bin"))
    assert adapter_file.faceid_width(weights) == 512
    lora = adapter_file.faceid_lora(weights, sdxl_unet)
    assert len(lora) == 140 * 4 * 2 == len(keys) - 140
    layer = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"
    assert lora[f"{layer}.lora_A.weight"].shape == (128, 640)
    assert all(sdxl_unet.get_submodule(name.rpartition(".lora_")[0]) is not None for name in lora)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("image_proj", "proj.0.weight"), r"lacks a proj\.0\.weight"),
        (changed("image_proj", "proj.2.weight", 3), r"lacks a proj\.2\.weight"),
        (changed("image_proj", "proj.0.weight", 700, 512), r"proj\.0\.\w+ \(the file has .* wanted is \(512"),
        (changed("image_proj", "norm.weight", 768), "width 768, this base model wants 64"),
        (without("image_proj", "norm.bias"), r"norm\.bias \(the file has nothing"),
        (without("ip_adapter", "1.to_v_ip.weight"), r"1 of its attention weights differ.* 1\.to_v_ip"),
        (
            without("ip_adapter", "0.to_out_lora.up.weight"),
            r"0\.to_out_lora\.up\.weight \(the file has nothing",
        ),
        (
            changed("ip_adapter", "0.to_q_lora.up.weight", 64, 9),
            r"0\.to_q_lora\.up\.weight \(the file has \(64, 9",
        ),
        (changed("ip_adapter", "99.to_q_lora.up.weight", 8, 8), r"99\.to_q_lora"),
    ],
)
def test_what_is_no_whole_faceid_adapter_is_refused_by_the_weight(faceid, unet, change, words):
    path = Path("ip-adapter-faceid.bin")
    adapter_file.check_faceid_fit(faceid, unet, path)
    with pytest.raises(BundleError, match=rf"ip-adapter-faceid\.bin .*{words}"):
        adapter_file.check_faceid_fit(change(faceid), unet, path)


def test_faceid_takes_no_other_kind_of_adapter(faceid, weights, unet):
    path = Path("some.bin")
    plus = {"perceiver_resampler.proj_in.weight": torch.zeros(8, 8), **faceid["image_proj"]}
    for projector, what in (
        (weights["image_proj"], "a plain IP-Adapter"),
        (plus, "an IP-Adapter FaceID Plus"),
    ):
        with pytest.raises(BundleError, match=rf"some\.bin is {what}.*FaceID takes an IP-Adapter FaceID"):
            adapter_file.check_faceid_fit(faceid | {"image_proj": projector}, unet, path)


def test_both_forms_of_faceid_hold_the_same(faceid, tmp_path):
    torch.save(faceid, tmp_path / "a.bin")
    save_file(adapters.joined(**faceid), tmp_path / "a.safetensors")
    for name in ("a.bin", "a.safetensors"):
        read = adapter_file.read_faceid_adapter(tmp_path / name)
        assert all(
            torch.equal(read[part][key], each) for part in faceid for key, each in faceid[part].items()
        )
    with pytest.raises(BundleError, match=r"The FaceID adapter .*gone\.bin is missing"):
        adapter_file.read_faceid_adapter(tmp_path / "gone.bin")
