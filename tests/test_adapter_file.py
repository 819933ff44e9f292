"""The style adapter's file: both published forms, and everything else refused by what it is."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from instantid import adapter_file, bundles, loading
from instantid.errors import BundleError

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
