"""The training loop, on accelerate: one for every stage. What is learned is a `Task`; how long and fast, `Settings`.

Every draw of a step follows from (seed, step, process), and so does which examples it sees: a run that was stopped
goes on to the very weights it would have had. Torch draws for one process; what all must draw alike, such as a part
that a batch does without, comes from Python's `random`: else the processes would wait for each other.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from diffusers.training_utils import EMAModel
from PIL import Image

from .checkpoints import CHECKPOINT, LOG, TrainingFailed, averages, go_on, write_checkpoint
from .plain_attention import plain_attention
from .settings import Settings

Figures = dict[str, torch.Tensor]
TEND_EVERY = 25  # steps


class Task(Protocol):
    """What is learned: a torch module whose trainable parameters are those that require gradients."""

    name: str

    paces: Mapping[str, float]
    """How many times as fast as the rest parameters learn whose names begin so; a task may do without."""

    stays: Sequence[str]
    """Beginnings of the names of parameters that do not learn and that later bundles do not have; likewise."""

    def tend(self) -> None:
        """Called every so many steps, to set right what learning makes of weights; likewise."""

    def __len__(self) -> int:
        """How many examples there are."""

    def __call__(self, indices: Sequence[int]) -> Figures:
        """The mean over these examples of "loss", which is minimised, and of whatever else is worth a look."""

    def sheet(self) -> Image.Image | None:
        """Show what it can do by now, from fixed seeds."""

    def save(self, bundle: Path) -> None:
        """Write the trained parts into a bundle's folder, in their published layout."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Args:
        seconds: this time, without what came before a resume.
        took: seconds since the last progress.
        figures: means since the last progress, over the batches that told them.
    """

    step: int
    steps: int
    seconds: float
    took: float
    examples_a_second: float
    figures: dict[str, float]


def train(
    task: Task,
    settings: Settings,
    folder: Path,
    bundle: Path,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Train until the last step or until the time is up, and yield where it stands now and then.

    Args:
        folder: of the run: checkpoint, log and sample sheets; a checkpoint there is gone on from.
        bundle: where the trained parts go, with averaged weights if there are such, whenever the run ends or pauses.
        stopping: asked after each step; True pauses the run, as when the time is up.

    Raises:
        TrainingFailed: there is nothing to learn from, the loss is no number any more, or the checkpoint is another
            run's.
    """
    if not len(task):
        raise TrainingFailed(f"{task.name} has no examples to learn from: look at its data and options.")
    # accelerate keeps one precision for the whole process; the stages of a plan may each have their own.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=on_cpu(settings),
        mixed_precision=precision(settings),
        gradient_accumulation_steps=settings.accumulate,
        log_with=list(settings.trackers) or None,
        project_dir=folder,
        # A stage may leave parts out for a batch, and no text encoder's last layer is ever read.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    learned = [parameter for parameter in task.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        _paced(task, learned),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    model, optimizer = accelerator.prepare(task, optimizer)
    averaged = EMAModel(learned, decay=settings.average) if settings.average else None
    step = go_on(folder / CHECKPOINT, task, optimizer, averaged, accelerator.scaler)
    if settings.trackers:
        # TensorBoard takes no lists.
        config = {name: str(value) for name, value in settings.model_dump(mode="json").items()}
        accelerator.init_trackers(task.name, config=config)
    sums, times, counted = {}, Counter(), 0
    started = told = saved = time.monotonic()

    def keep() -> None:
        if accelerator.is_main_process:
            write_checkpoint(folder / CHECKPOINT, step, task, optimizer, averaged, accelerator.scaler)
            with averages(averaged, learned):
                task.save(bundle)

    while step < settings.steps:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * settings.rate(step) * group.get("pace", 1.0)
        for part in range(settings.accumulate):
            with accelerator.accumulate(model), _attention(accelerator.device):
                figures = _one(model, settings, accelerator, step, part)
                accelerator.backward(figures["loss"])
                if accelerator.sync_gradients:
                    figures["gradient"] = accelerator.clip_grad_norm_(learned, settings.clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
                times[name] += 1
        step, counted = step + 1, counted + 1
        _refuse_nonsense(task, step, sums, settings)
        if step % TEND_EVERY == 0 and hasattr(task, "tend"):
            with accelerator.autocast():
                task.tend()
        if averaged:
            averaged.step(learned)
        now = time.monotonic()
        over = now - started > 60 * settings.minutes or stopping()
        late = _agreed(over, step, settings, accelerator)
        last = step == settings.steps or late
        if step % settings.log_every == 0 or last:
            figures = {name: value / times[name] for name, value in sums.items()}
            progress = _progress(step, settings, figures, counted, accelerator, started, told)
            _log(folder, progress, accelerator)
            sums, times, counted, told = {}, Counter(), 0, now
            yield progress
        if (
            settings.sheet_every
            and (step % settings.sheet_every == 0 or last)
            and accelerator.is_main_process
        ):
            with averages(averaged, learned), torch.random.fork_rng(), accelerator.autocast():
                _write_sheet(task, folder, step)
        if now - saved > 60 * settings.save_minutes or last:
            keep()
            saved = now
        if late:
            break
    accelerator.end_training()


def on_cpu(settings: Settings) -> bool:
    """Whether a run is on the CPU. Told otherwise on a machine without a GPU, accelerate would let each of several
    processes train on its own."""
    return settings.device == "cpu" or not torch.accelerator.is_available()


def precision(settings: Settings) -> str:
    """Of a run's products on this machine: "no", "bf16" or "fp16"."""
    if settings.precision != "auto":
        return settings.precision
    if not on_cpu(settings):
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(False) else "no"
    # Without such instructions bf16 works too, many times slower.
    able = torch.cpu.get_capabilities()
    return "bf16" if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "no"


def examples(seed: int, length: int, first: int, count: int) -> list[int]:
    """Which examples come at places first … first + count of an endless run through shuffled epochs."""
    chosen: list[int] = []
    while len(chosen) < count:
        epoch, at = divmod(first + len(chosen), length)
        order = np.random.default_rng([seed, epoch]).permutation(length)
        chosen += order[at : at + count - len(chosen)].tolist()
    return chosen


def _paced(task: Task, learned: list[torch.nn.Parameter]) -> list[dict]:
    """Groups of parameters that learn as fast as others, or faster."""
    paces = {
        id(parameter): pace
        for start, pace in getattr(task, "paces", {}).items()
        for name, parameter in task.named_parameters()
        if name.startswith(start)
    }
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for parameter in learned:
        groups.setdefault(paces.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": parameters, "pace": pace} for pace, parameters in groups.items()]


def _one(
    model: torch.nn.Module, settings: Settings, accelerator: Accelerator, step: int, part: int
) -> Figures:
    """The loss of one process's share of a batch, its draws seeded by where in the run it stands."""
    rank, processes = accelerator.process_index, accelerator.num_processes
    turn = (step * settings.accumulate + part) * processes + rank
    torch.manual_seed(int(np.random.default_rng([settings.seed, turn]).integers(2**62)))
    random.seed(f"{settings.seed} {turn // processes}")
    indices = examples(
        settings.seed, len(accelerator.unwrap_model(model)), turn * settings.batch, settings.batch
    )
    with accelerator.autocast():
        return dict(model(indices))


def _attention(device: torch.device) -> AbstractContextManager:
    return plain_attention() if device.type == "cpu" else nullcontext()


def _refuse_nonsense(task: Task, step: int, sums: dict[str, float], settings: Settings) -> None:
    """Stop before weights that are no numbers are kept. With fp16, accelerate itself skips steps that overflow."""
    watched = ("loss",) if settings.precision == "fp16" else ("loss", "gradient")
    for name in watched:
        if not np.isfinite(sums[name]):
            raise TrainingFailed(
                f"The {name} of {task.name} is {sums[name]} at step {step}. The last checkpoint is kept: go on from "
                "it with a smaller learning_rate, or with precision “no”."
            )


def _agreed(late: bool, step: int, settings: Settings, accelerator: Accelerator) -> bool:
    """Whether to pause, as the first process sees it: all must stop at the same step."""
    if accelerator.num_processes == 1:
        return late
    if step % 10:
        return False
    return broadcast_object_list([late])[0]


def _progress(
    step: int,
    settings: Settings,
    figures: dict[str, float],
    counted: int,
    accelerator: Accelerator,
    started: float,
    told: float,
) -> Progress:
    now = time.monotonic()
    seen = counted * settings.accumulate * settings.batch * accelerator.num_processes
    return Progress(
        step=step,
        steps=settings.steps,
        seconds=now - started,
        took=now - told,
        examples_a_second=seen / max(now - told, 1e-9),
        figures=figures,
    )


def _log(folder: Path, progress: Progress, accelerator: Accelerator) -> None:
    accelerator.log(progress.figures, step=progress.step)
    if accelerator.is_main_process:
        line = {"step": progress.step, "seconds": progress.took, "speed": progress.examples_a_second}
        line |= progress.figures
        with (folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: float(f"{value:.6g}") for name, value in line.items()}) + "\n")


def _write_sheet(task: Task, folder: Path, step: int) -> None:
    task.eval()
    with torch.no_grad():
        sheet = task.sheet()
    task.train()
    if sheet is not None:
        (folder / "sheets").mkdir(exist_ok=True)
        sheet.save(folder / "sheets" / f"{step:07d}.webp", quality=90)
