"""Samplers, held against what their publishers and diffusers state of them."""

import pytest
import torch

from instantid import schedulers
from instantid.errors import InvalidRequest
from instantid.request import Person, Request

# stabilityai/stable-diffusion-xl-base-1.0/scheduler/scheduler_config.json
SDXL = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
BARE = {
    key: SDXL[key] for key in ("beta_start", "beta_end", "beta_schedule", "steps_offset", "timestep_spacing")
}


@pytest.mark.parametrize("config", [SDXL, BARE], ids=["SDXL's", "one that says little"])
@pytest.mark.parametrize("name", schedulers.SCHEDULERS)
def test_every_sampler_runs_and_its_last_step_gives_the_picture_that_was_predicted(name, config):
    """Noise predicted without a mistake leads back to the picture, values far beyond ±1 included."""
    scheduler = schedulers.build(name, config, 8)
    scheduler.set_timesteps(8)
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(1, 4, 8, 8, generator=generator) * 4
    alphas = scheduler.alphas_cumprod
    latents = torch.randn(picture.shape, generator=generator) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        seen = scheduler.scale_model_input(latents, timestep)
        alpha = alphas[int(timestep.round().clamp(0, 999))]
        noise = (seen - alpha.sqrt() * picture) / (1 - alpha).sqrt()
        options = {"generator": generator} if "generator" in scheduler.step.__code__.co_varnames else {}
        latents = scheduler.step(noise, timestep, latents, return_dict=False, **options)[0]
    # DDIM ends on the least noise of training, as SDXL wants it, and others round a timestep: nearly.
    assert (latents - picture).abs().max() < 0.6


def test_ddim_never_clips_what_it_predicts_whatever_the_base_says():
    for config in (SDXL, BARE, SDXL | {"clip_sample": True}):
        scheduler = schedulers.build("DDIM", config, 10)
        assert scheduler.config.clip_sample is False
        assert scheduler.final_alpha_cumprod == scheduler.alphas_cumprod[0]


def test_settings_of_one_request_leave_no_trace_in_the_configuration():
    config = dict(SDXL)
    scheduler = schedulers.build("Euler", config, 4, {"timestep_spacing": "trailing"})
    assert scheduler.config.timestep_spacing == "trailing"
    assert config == SDXL
    assert schedulers.build("Euler", config, 4).config.timestep_spacing == "leading"


@pytest.mark.parametrize("name", ["LCM", "TCD"])
def test_more_steps_than_were_distilled_are_refused(name):
    schedulers.build(name, SDXL, 50)
    with pytest.raises(InvalidRequest, match="at most 50 steps"):
        schedulers.build(name, SDXL, 51)
    schedulers.build(name, SDXL, 51, {"original_inference_steps": 100})


@pytest.mark.parametrize(
    ("chosen", "usual", "changes", "said"),
    [
        ("LCM", "LCM", {}, None),
        ("TCD", "LCM", {}, None),
        ("Euler", "DDIM", {}, None),
        ("Euler", "LCM", {}, "learned to paint by LCM"),
        ("LCM", "Euler", {}, "choose a few-step recipe, or Euler"),
        ("LCM", "Euler", {"recipe": "LCM, 4 steps"}, None),
        ("LCM", "Euler", {"loras": ("lcm.safetensors",)}, None),
        ("Euler", "LCM", {"base": "another.safetensors"}, None),
    ],
)
def test_a_sampler_that_does_not_suit_the_weights_is_told_of(chosen, usual, changes, said):
    request = Request(people=[Person(references=["me.jpg"])], scheduler=chosen, **changes)
    notes = schedulers.unsuited(request, usual)
    assert len(notes) == (said is not None)
    assert (said or "") in "".join(notes)
