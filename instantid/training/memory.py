"""What lets a large model be trained on one GPU: frozen weights in bfloat16, and activations computed twice."""

import torch
from diffusers import AutoencoderKL, ModelMixin
from torch import nn

from .settings import Settings

# Under autocast these compute in half precision anyway; norms want their weights in float32.
_HALVED = (nn.Linear, nn.Conv2d, nn.Embedding)


def spare(task: nn.Module, settings: Settings) -> None:
    """Make a task, which still lies on the CPU, as small as its settings ask for."""
    if settings.frozen == "bf16":
        _halve(task)
    if settings.checkpointing:
        for model in task.modules():
            if isinstance(model, ModelMixin) and model._supports_gradient_checkpointing:
                model.enable_gradient_checkpointing()


def _halve(task: nn.Module) -> None:
    """Keep what does not learn in bfloat16; VAEs stay, as sample sheets are looked at closely."""
    kept = {module for vae in task.modules() if isinstance(vae, AutoencoderKL) for module in vae.modules()}
    for module in task.modules():
        if isinstance(module, _HALVED) and module not in kept:
            for weight in module.parameters(recurse=False):
                if not weight.requires_grad:
                    weight.data = weight.data.to(torch.bfloat16)
