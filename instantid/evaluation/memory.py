"""The most memory that making pictures took."""

import gc
import json
import resource
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes at the most so far, and of what."""

    size: int
    where: str


FILE = "memory.json"
REFERENCES, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def remember(folder: Path, device: str | None) -> Memory | None:
    """The most there was in all runs that made pictures of a folder; None where none told.

    Args:
        device: of this run; None where it made no picture.
    """
    file = folder / FILE
    before = Memory(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None
    if device is None:
        return before
    now = peak(device)
    most = max(now, before, key=lambda each: each.size) if before and before.where == now.where else now
    file.write_text(json.dumps(asdict(most)), encoding="utf-8")
    return most


def reset() -> None:
    """Begin to count anew: on a GPU, and of the process under Linux; elsewhere it counts from its start."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    gc.collect()  # people were rendered in this process, maybe
    if REFERENCES.exists():
        REFERENCES.write_text("5")  # man proc_pid_clear_refs: 5 resets the peak


def peak(device: str) -> Memory:
    """Of the GPU's memory that torch took since `reset`; without a GPU of the whole process."""
    if device == "cuda":
        return Memory(size=torch.cuda.max_memory_allocated(), where="GPU")
    if REFERENCES.exists():
        [line] = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return Memory(size=int(line.split()[1]) * 1024, where="process")
    return Memory(size=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, where="process since its start")
