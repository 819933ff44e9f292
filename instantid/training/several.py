"""One stage in several processes of this machine, one per GPU or core; the loop in each of them does the rest."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from .checkpoints import TrainingFailed
from .runs import Run, Stage

RUN = "run.yaml"
SAID = "process-{}.log"
TOLD = 2000  # characters of what a failed process said last
RUN_PACKAGE = "runpy.run_module('instantid', run_name='__main__', alter_sys=True)"
PAUSED = 130  # how the command ends after a Ctrl-C


def start_several(
    stage: Stage, run: Run, processes: int, *, stopping: Callable[[], bool] = lambda: False
) -> Iterator[str]:
    """As `runs.start`, in so many processes, which share each batch; yields lines of how it goes.

    Args:
        run: its batch is that of all processes together.
        stopping: asked after each line; True pauses the run.

    Raises:
        TrainingFailed: the batch cannot be shared, or a process failed.
    """
    share, left_over = divmod(run.settings.batch, processes)
    if left_over:
        raise TrainingFailed(
            f"{processes} processes cannot share a batch of {run.settings.batch} examples: choose a number that "
            "divides it."
        )
    shared = run.model_copy(update={"settings": run.settings.model_copy(update={"batch": share})})
    run.out.mkdir(parents=True, exist_ok=True)
    file = run.out / RUN
    file.write_text(yaml.safe_dump(shared.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    running, fine = _open(stage, file, processes), {0}
    try:
        with (run.out / SAID.format(0)).open("w", encoding="utf-8", buffering=1) as log:
            for line in running[0].stderr:
                log.write(line)
                if line.startswith(f"{stage} "):
                    yield line.strip()
                if stopping() and len(fine) == 1:
                    fine.add(PAUSED)
                    for process in running:  # each pauses after a step that they agree on
                        process.send_signal(signal.SIGINT)
                if _failed(running, fine):
                    break
        while not _failed(running, fine) and any(process.poll() is None for process in running):
            time.sleep(0.1)
    finally:
        failed = _failed(running, fine)
        for process in running:
            process.kill()
            process.wait()
    if failed:
        log = run.out / SAID.format(failed[0])
        said = log.read_text(encoding="utf-8")[-TOLD:]
        raise TrainingFailed(
            f"Process {failed[0]} of {processes} failed; {log} has all that it said:\n{said}"
        )


def _failed(running: list[subprocess.Popen], fine: set[int]) -> list[int]:
    """Which of them have ended otherwise than they should."""
    return [rank for rank, process in enumerate(running) if process.poll() not in {None, *fine}]


def _open(stage: Stage, file: Path, processes: int) -> list[subprocess.Popen]:
    """What torchrun starts, but that it kills all processes when the first one pauses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)),
        "PYTHONUNBUFFERED": "1",
    }
    running = []
    run = f"import runpy, sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); {RUN_PACKAGE}"
    for rank in range(processes):
        with (file.parent / SAID.format(rank)).open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [
                    *_with(settings | {"RANK": str(rank), "LOCAL_RANK": str(rank)}),
                    "-c",
                    run,
                    "train",
                    stage,
                    file,
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE if rank == 0 else log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the parent, who hands it on
            )
        running.append(process)
    return running


def _with(settings: dict[str, str]) -> list[str]:
    """Python with these besides what this process's environment has."""
    return ["env", *(f"{name}={value}" for name, value in settings.items()), sys.executable]
