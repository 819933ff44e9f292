"""What a run keeps in its folder: the weights as they learn, how far it is, and its log."""

import json
import os
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel

from ..errors import InstantIDError

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


class TrainingFailed(InstantIDError):
    """A run cannot go on."""


def hours(folder: Path) -> float:
    """How long the run in a folder has learned, pauses left out, whatever was done twice left in."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0.0
    return sum(json.loads(line).get("seconds", 0.0) for line in lines) / 3600


def steps_done(folder: Path) -> int:
    """How far the run in a folder has come."""
    try:
        return torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True, mmap=True)["step"]
    except FileNotFoundError:
        return 0


class averages:
    """The averaged weights in place of the trained ones, for a while."""

    def __init__(self, averaged: EMAModel | None, learned: list[torch.nn.Parameter]):
        self._averaged, self._learned = averaged, learned

    def __enter__(self) -> None:
        if self._averaged:
            self._averaged.store(self._learned)
            self._averaged.copy_to(self._learned)

    def __exit__(self, *_: object) -> None:
        if self._averaged:
            self._averaged.restore(self._learned)


def write_checkpoint(
    path: Path,
    step: int,
    task: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    averaged: EMAModel | None,
    scaler: torch.amp.GradScaler | None,
) -> None:
    """Keep what learns, whole or not at all; in fp16 also by how much losses are scaled."""
    content = {
        "task": task.name,
        "step": step,
        "weights": _weights(task),
        "optimizer": optimizer.state_dict(),
        "averaged": averaged.state_dict() if averaged else None,
        "scaler": scaler.state_dict() if scaler else None,
    }
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


def go_on(
    path: Path,
    task: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    averaged: EMAModel | None,
    scaler: torch.amp.GradScaler | None,
) -> int:
    """Go on from a checkpoint if there is one; the step to go on with."""
    if not path.exists():
        return 0
    content = torch.load(path, map_location="cpu", weights_only=True)
    learned = _weights(task)
    shapes = {name: tuple(value.shape) for name, value in content["weights"].items()}
    if content["task"] != task.name or shapes != {
        name: tuple(value.shape) for name, value in learned.items()
    }:
        raise TrainingFailed(
            f"{path} is of another run ({content['task']}). Choose a new folder for this one, or the same options."
        )
    with torch.no_grad():
        for name, value in content["weights"].items():
            learned[name].copy_(value)
    optimizer.load_state_dict(content["optimizer"])
    if averaged and content["averaged"]:
        averaged.load_state_dict(content["averaged"])
        averaged.to(next(iter(learned.values())).device)
    if scaler and content.get("scaler"):  # a run may have begun in another precision
        scaler.load_state_dict(content["scaler"])
    return content["step"]


def _weights(task: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """What learns; and what stays as it was when the run began, where its bundle has come to be another."""
    stays = tuple(getattr(task, "stays", ()))
    return {
        name: value
        for name, value in task.named_parameters()
        if value.requires_grad or (stays and name.startswith(stays))
    }
