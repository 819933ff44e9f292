"""Few-step recipes against the numbers in their publishers' READMEs, and the rules that fill a request."""

from typing import get_args

import pytest
from test_schedulers import SDXL

from instantid import bundles, recipes, schedulers
from instantid.bundles import Defaults
from instantid.errors import DownloadError, InvalidRequest
from instantid.recipes import RECIPES
from instantid.request import RecipeName, Request

PEOPLE = {"people": [{"references": ["face.png"]}]}
DEFAULTS = Defaults(steps=30, guidance_scale=5.0, scheduler="DPM++ 2M")


@pytest.fixture
def bundle(tiny, tmp_path):
    """The tiny bundle with weights for two recipes; what is in the file does not matter here."""
    lora = tmp_path / "lcm.safetensors"
    lora.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return bundles.open_bundle(tiny).model_copy(
        update={"loras": {"lcm": str(lora), "dmd2": "gone.safetensors"}}
    )


def asked(**settings) -> Request:
    return Request(**PEOPLE | settings)


def test_every_name_that_can_be_asked_for_has_a_recipe_and_every_recipe_a_published_part():
    assert tuple(RECIPES) == get_args(RecipeName)
    sdxl = bundles.open_bundle("sdxl")
    for name, recipe in RECIPES.items():
        assert sdxl.has(recipe.lora), name
        assert recipe.lora in sdxl.licences, name
        assert name.endswith(f"{recipe.steps} steps")
        assert recipe.when.endswith(".") and len(recipe.when) < 110


def test_a_file_made_for_a_number_of_steps_is_used_for_that_number():
    sources = bundles.open_bundle("sdxl").sources
    for name in (
        "Lightning, 4 steps",
        "Lightning, 8 steps",
        "Hyper-SD, 4 steps",
        "Hyper-SD, 8 steps",
        "DMD2, 4 steps",
    ):
        assert f"{RECIPES[name].steps}step" in sources[RECIPES[name].lora]


@pytest.mark.parametrize(
    ("name", "timesteps"),
    [
        # 50 DDIM steps of training, evenly picked (LCM-LoRA's report, and the default of diffusers' LCMScheduler)
        ("LCM, 4 steps", [999, 759, 499, 259]),
        ("LCM, 8 steps", [999, 879, 759, 639, 499, 379, 259, 139]),
        # "trailing", which starts from pure noise
        ("Lightning, 4 steps", [999, 749, 499, 249]),
        ("Lightning, 8 steps", [999, 874, 749, 624, 499, 374, 249, 124]),
        ("Hyper-SD, 4 steps", [999, 749, 499, 249]),
        ("Hyper-SD, 8 steps", [999, 874, 749, 624, 499, 374, 249, 124]),
        # timesteps=[999, 749, 499, 249] in its README
        ("DMD2, 4 steps", [999, 749, 499, 249]),
    ],
)
def test_the_timesteps_are_those_that_the_weights_were_trained_at(name, timesteps):
    request = recipes.fill(asked(recipe=name), DEFAULTS)
    scheduler = schedulers.build(request.scheduler, SDXL, request.steps, recipes.scheduler_settings(request))
    scheduler.set_timesteps(request.steps)
    assert scheduler.timesteps.int().tolist() == timesteps


def test_guidance_is_off_where_the_publisher_wants_none():
    guided = {
        name for name, recipe in RECIPES.items() if recipe.guidance_scale > 1
    }  # as diffusers decides it
    assert guided == {"LCM, 8 steps", "Hyper-SD, 8 steps"}
    assert 1 < RECIPES["LCM, 8 steps"].guidance_scale <= 2
    assert 5 <= RECIPES["Hyper-SD, 8 steps"].guidance_scale <= 8


def test_a_recipe_fills_what_was_left_open_and_what_was_asked_for_wins():
    strengths = {"identity_strength": 0.8, "adapter_strength": 0.8}
    settled = asked(steps=30, guidance_scale=5.0, scheduler="DPM++ 2M", **strengths)
    assert recipes.fill(asked(), DEFAULTS) == settled
    filled = recipes.fill(asked(recipe="Lightning, 8 steps"), DEFAULTS)
    assert (filled.steps, filled.guidance_scale, filled.scheduler) == (8, 1.0, "Euler")
    filled = recipes.fill(asked(recipe="Lightning, 8 steps", steps=6, guidance_scale=0), DEFAULTS)
    assert (filled.steps, filled.guidance_scale, filled.scheduler) == (6, 0, "Euler")
    assert recipes.fill(filled, DEFAULTS) == filled


@pytest.mark.parametrize("recipe", [None, "Lightning, 4 steps"])
def test_strengths_left_open_are_the_bundle_s_own_whatever_the_recipe(recipe):
    own = DEFAULTS.model_copy(update={"identity_strength": 1.0, "adapter_strength": 0.6})
    filled = recipes.fill(asked(recipe=recipe), own)
    assert (filled.identity_strength, filled.adapter_strength) == (1.0, 0.6)
    filled = recipes.fill(asked(recipe=recipe, identity_strength=0.0), own)
    assert (filled.identity_strength, filled.adapter_strength) == (0.0, 0.6), "0 is asked for, not open"


def test_another_sampler_keeps_the_spacing_and_nothing_else_of_the_recipe():
    def settings(**asked_for):
        return recipes.scheduler_settings(recipes.fill(asked(**asked_for), DEFAULTS))

    assert settings(recipe="Lightning, 4 steps", scheduler="Euler a") == {"timestep_spacing": "trailing"}
    assert settings(recipe="DMD2, 4 steps", scheduler="DPM++ 2M") == {}
    assert settings(recipe="DMD2, 4 steps", scheduler="LCM") == {"original_inference_steps": 100}
    assert settings(scheduler="LCM") == {}


def test_only_recipes_whose_weights_are_here_are_offered(tiny, bundle):
    assert recipes.usable(bundles.open_bundle(tiny)) == ()
    assert recipes.usable(bundle) == ("LCM, 4 steps", "LCM, 8 steps")


def test_the_weights_of_a_recipe_come_with_their_strength_or_a_way_to_get_them(tiny, bundle, tmp_path):
    assert recipes.weights("LCM, 4 steps", bundle) == (tmp_path / "lcm.safetensors", 1.0)
    with pytest.raises(
        InvalidRequest, match=r"no weights for the recipe “Hyper-SD, 4 steps”.*“LCM, 8 steps”"
    ):
        recipes.weights("Hyper-SD, 4 steps", bundle)
    with pytest.raises(InvalidRequest, match="it has: none"):
        recipes.weights("Hyper-SD, 4 steps", bundles.open_bundle(tiny))
    with pytest.raises(DownloadError, match=r"fetch --bundle sdxl --part loras.dmd2"):
        recipes.weights("DMD2, 4 steps", bundles.open_bundle("sdxl", cache=tmp_path))
