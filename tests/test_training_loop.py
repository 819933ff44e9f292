"""The training loop: stopping changes nothing, who sees which example, what is kept when things go wrong."""

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from instantid.training import loop
from instantid.training.checkpoints import CHECKPOINT, LOG, TrainingFailed, go_on, write_checkpoint
from instantid.training.loop import examples, precision, train
from instantid.training.settings import Settings

USUAL = {"steps": 6, "batch": 2, "warmup": 2, "learning_rate": 0.05, "average": 0.9}
USUAL |= {"log_every": 1, "sheet_every": 0, "device": "cpu"}


class Line(nn.Module):
    """A task: a matrix, from products with noise on them. `breaks_at`: the call whose loss is no number."""

    name = "line"

    def __init__(self, length: int = 10, *, noise: float = 0.0, width: int = 4, breaks_at: int = -1):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.layer, self.spare = nn.Linear(width, 3), nn.Linear(3, 3)
            self.frozen = nn.Linear(2, 2).requires_grad_(False)
            self.inputs, self.wanted = torch.randn(length, width), torch.randn(length, 3)
        self.noise, self.breaks_at = noise, breaks_at
        self.seen: list[list[int]] = []
        self.saved: list[dict[str, torch.Tensor]] = []

    def __len__(self) -> int:
        return len(self.inputs)

    def forward(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        self.layer.requires_grad_(False)  # as where a LoRA is taken off for a moment
        self.layer.requires_grad_(True)
        self.seen.append(list(indices))
        made = self.layer(self.inputs[indices] + self.noise * torch.randn(len(indices), self.inputs.shape[1]))
        if indices[0] % 2:  # some parts have nothing to do in some batches
            made = made + self.spare(made)
        loss = (made - self.wanted[indices]).square().mean()
        return {
            "loss": loss * math.nan if len(self.seen) == self.breaks_at else loss,
            "first": indices[0] * loss,
        }

    def sheet(self) -> Image.Image:
        assert not self.training and not torch.is_grad_enabled()
        return Image.fromarray(torch.randint(255, (8, 8, 3), dtype=torch.uint8).numpy())

    def save(self, bundle: Path) -> None:
        self.saved.append(weights(self))


def weights(task: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in task.state_dict().items()}


def go(folder: Path, task: Line | None = None, **changes) -> Line:
    """Train until the end or a pause; the task as it is then."""
    task = Line(noise=0.3) if task is None else task
    for _ in train(task, Settings(**USUAL | changes), folder, folder / "bundle"):
        pass
    return task


def kept(folder: Path) -> dict:
    return torch.load(folder / CHECKPOINT, weights_only=True)


def assert_same(one, other) -> None:
    """To the bit, all the way down."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path):
    whole = go(tmp_path / "whole", accumulate=2)
    for progress in train(
        Line(noise=0.3),
        Settings(**USUAL | {"accumulate": 2, "save_minutes": 1e-9, "sheet_every": 1}),
        tmp_path / "stopped",
        tmp_path / "bundle",
    ):
        if progress.step == 4:  # Ctrl-C before the checkpoint of this step
            break
    assert kept(tmp_path / "stopped")["step"] == 3
    rest = go(tmp_path / "stopped", accumulate=2)
    assert rest.seen == whole.seen[-len(rest.seen) :] and len(rest.seen) == 3 * 2
    assert_same(kept(tmp_path / "stopped"), kept(tmp_path / "whole"))
    assert_same(weights(rest), weights(whole))
    assert_same(rest.saved[-1], whole.saved[-1])


def test_now_and_then_a_task_is_tended_and_a_stopped_run_at_the_same_steps(tmp_path, monkeypatch):
    class Tended(Line):
        def tend(self) -> None:
            tended.append(len(self.seen))
            with torch.no_grad():
                self.layer.weight.mul_(0.5)

    tended: list[int] = []
    monkeypatch.setattr(loop, "TEND_EVERY", 2)
    whole = go(tmp_path / "whole", Tended(noise=0.3))
    assert tended == [2, 4, 6]
    for _ in range(3):
        go(tmp_path / "stopped", Tended(noise=0.3), minutes=1e-9)
    go(tmp_path / "stopped", Tended(noise=0.3))
    assert_same(kept(tmp_path / "stopped"), kept(tmp_path / "whole"))
    assert not torch.equal(go(tmp_path / "plain").layer.weight, whole.layer.weight)


def test_when_the_time_is_up_it_pauses_and_another_call_goes_on(tmp_path):
    for step in range(1, 7):
        go(tmp_path / "paused", minutes=1e-9)
        assert kept(tmp_path / "paused")["step"] == step
    again = go(tmp_path / "paused", minutes=1e-9)
    assert again.seen == []  # all is done
    go(tmp_path / "whole")
    assert_same(kept(tmp_path / "paused"), kept(tmp_path / "whole"))
    lines = [json.loads(line) for line in (tmp_path / "paused" / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_batches_that_make_one_update_are_one_large_batch(tmp_path):
    parts = go(tmp_path / "parts", Line(), batch=2, accumulate=3)
    large = go(tmp_path / "large", Line(), batch=6)
    assert list(chain(*parts.seen)) == list(chain(*large.seen))
    # Of the layer that only some batches use, parts of a batch make more use.
    task, other = Line(), Line()
    for each in (task, other):
        each.forward = _without_spare.__get__(each)
    go(tmp_path / "a", task, batch=2, accumulate=3)
    go(tmp_path / "b", other, batch=6)
    assert torch.allclose(task.layer.weight, other.layer.weight, atol=1e-6)
    assert (task.layer.weight - Line().layer.weight).abs().max() > 0.05


def _without_spare(self: Line, indices: Sequence[int]) -> dict[str, torch.Tensor]:
    return {"loss": (self.layer(self.inputs[indices]) - self.wanted[indices]).square().mean()}


def test_each_epoch_shows_each_example_once_in_an_order_of_its_own():
    epochs = np.array(examples(5, 7, 0, 21)).reshape(3, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert examples(5, 7, 5, 9) == epochs.ravel()[5:14].tolist()  # across the border of an epoch
    assert examples(6, 7, 0, 21) != epochs.ravel().tolist()
    assert sorted(examples(0, 2, 0, 6)) == [0, 0, 0, 1, 1, 1]  # more in a batch than there are


def test_what_is_no_number_is_never_kept(tmp_path):
    settings = {"log_every": 20, "save_minutes": 1e-9}
    with pytest.raises(TrainingFailed, match=r"loss of line is nan at step 4.*smaller learning_rate"):
        go(tmp_path, Line(noise=0.3, breaks_at=4), **settings)
    assert kept(tmp_path)["step"] == 3
    assert all(torch.isfinite(weight).all() for weight in kept(tmp_path)["weights"].values())
    go(tmp_path, **settings)
    go(tmp_path / "whole", **settings)
    assert_same(kept(tmp_path), kept(tmp_path / "whole"))


def test_in_fp16_losses_are_scaled_on_as_before(tmp_path):
    path, task = tmp_path / CHECKPOINT, Line()
    optimizer = torch.optim.AdamW(task.layer.parameters())
    scaler, again = (torch.amp.GradScaler("cpu", init_scale=scale) for scale in (64.0, 2.0**16))
    write_checkpoint(path, 5, task, optimizer, None, scaler)
    assert go_on(path, task, optimizer, None, again) == 5 and again.get_scale() == 64
    write_checkpoint(path, 6, task, optimizer, None, None)
    assert go_on(path, task, optimizer, None, again) == 6 and again.get_scale() == 64


@pytest.mark.parametrize("other", ["another name", "other shapes"])
def test_another_runs_checkpoint_is_refused(tmp_path, other):
    go(tmp_path)
    task = Line(width=5) if other == "other shapes" else Line()
    task.name = "circle" if other == "another name" else "line"
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(TrainingFailed, match=r"is of another run \(line\).*a new folder"):
        go(tmp_path, task)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_nothing_to_learn_from_is_said(tmp_path):
    with pytest.raises(TrainingFailed, match="line has no examples"):
        go(tmp_path, Line(length=0))


def test_averages_are_saved_and_training_goes_on_with_what_was_trained(tmp_path):
    task = go(tmp_path / "averaged", save_minutes=1e-9)
    averaged, trained = task.saved[-1]["layer.weight"], task.layer.weight
    assert len(task.saved) == 6
    content = kept(tmp_path / "averaged")
    assert torch.equal(content["weights"]["layer.weight"], trained)
    assert any(torch.equal(shadow, averaged) for shadow in content["averaged"]["shadow_params"])
    assert (averaged - trained).abs().max() > 1e-3
    plain = go(tmp_path / "plain", average=0)
    assert torch.equal(plain.layer.weight, trained)  # averages never reach what is trained
    assert torch.equal(plain.saved[-1]["layer.weight"], trained)
    assert "frozen.weight" not in content["weights"] and torch.equal(
        plain.frozen.weight, Line().frozen.weight
    )


def test_the_rate_rises_stays_and_falls_and_is_what_is_trained_with(tmp_path):
    settings = Settings(steps=20, warmup=4, cooldown=0.25)
    rates = [settings.rate(step) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and set(rates[4:16]) == {1.0}
    assert rates[15:] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert [Settings(steps=3, warmup=0, cooldown=0).rate(step) for step in range(3)] == [1.0, 1.0, 1.0]
    go(tmp_path, cooldown=0.5)
    group = kept(tmp_path)["optimizer"]["param_groups"][0]
    assert group["lr"] == pytest.approx(0.05 * Settings(steps=6, warmup=2, cooldown=0.5).rate(5))


def test_figures_are_means_and_sheets_are_drawn_on_the_way(tmp_path):
    task, told = Line(), []
    for progress in train(task, Settings(**USUAL | {"log_every": 4, "sheet_every": 3}), tmp_path, tmp_path):
        told.append(progress)
        assert task.training
    assert [progress.step for progress in told] == [4, 6] and told[-1].steps == 6
    assert told[0].figures.keys() == {"loss", "first", "gradient"}
    assert sorted(sheet.name for sheet in (tmp_path / "sheets").iterdir()) == ["0000003.webp", "0000006.webp"]
    single = [
        progress.figures["loss"] for progress in train(Line(), Settings(**USUAL), tmp_path / "b", tmp_path)
    ]
    assert told[0].figures["loss"] == pytest.approx(np.mean(single[:4]))
    assert told[1].figures["loss"] == pytest.approx(np.mean(single[4:]))


def test_runs_of_other_precision_may_follow_in_the_same_process(tmp_path):
    full = go(tmp_path / "full", Line(), precision="no").layer.weight
    half = go(tmp_path / "half", Line(), precision="bf16").layer.weight
    again = go(tmp_path / "again", Line(), precision="no").layer.weight
    assert torch.equal(again, full) and not torch.equal(half, full)
    assert half.dtype == torch.float32 and torch.allclose(half, full, atol=0.05)


@pytest.mark.parametrize("able", ["avx512_bf16", "amx_bf16", None])
def test_automatic_precision_is_what_the_processor_computes_in(able, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, able: True})
    told = precision(Settings(**USUAL, precision="auto"))
    assert told == ("bf16" if able else "no")
    assert precision(Settings(**USUAL, precision="fp16")) == "fp16"


PROCESS = """
import os, random, sys, torch
from pathlib import Path
from instantid.training.loop import train
from instantid.training.settings import Settings
from test_training_loop import Line, USUAL, weights

out, rank = Path(sys.argv[1]), os.environ["RANK"]
class Drawing(Line):
    def forward(self, indices):
        self.drawn.append((random.random(), float(torch.rand(()))))
        return super().forward(indices)

task = Drawing(length=12, noise=0.3)
task.drawn = []
with torch.no_grad():
    task.layer.weight += int(rank)  # the first one's is what counts
steps = [p.step for p in train(task, Settings(**USUAL | {"seed": 3}), out / "run", out / "bundle")]
told = {"weights": weights(task), "seen": task.seen, "saved": len(task.saved), "steps": steps, "drawn": task.drawn}
torch.save(told, out / f"{rank}.pt")
"""


def test_two_processes_share_the_examples_and_stay_in_step(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    tests = Path(__file__).parent
    paths = os.pathsep.join([str(tests.parent), str(tests)])
    # What torchrun and accelerate launch set.
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path)],
            env=os.environ | world | {"RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": paths},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    errors = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in "01")
    assert_same(first["weights"], second["weights"])
    assert first["steps"] == second["steps"] == [1, 2, 3, 4, 5, 6]
    (alike, mine), (too, yours) = (zip(*each["drawn"], strict=True) for each in (first, second))
    assert alike == too, "what a batch does without, all processes do without"
    assert not set(mine) & set(yours)
    for start in (0, 3):  # three steps of two processes' two examples are an epoch
        both = chain(*first["seen"][start : start + 3], *second["seen"][start : start + 3])
        assert sorted(both) == list(range(12))
    assert (first["saved"], second["saved"]) == (1, 0)
    assert_same(kept(tmp_path / "run")["weights"]["layer.weight"], first["weights"]["layer.weight"])
