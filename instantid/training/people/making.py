"""Making a data set: shard by shard, in as many processes as asked for, going on where it stopped."""

import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ...errors import InstantIDError
from .description import Picture
from .identities import sample_identity
from .looks import PHOTO, styles_with_looks
from .orders import Order, open_order, shard_name
from .scenes import sample_picture
from .shards import ShardWriter
from .truth import Rendered

Render = Callable[[Sequence[Picture]], list[Rendered]]
OpenRenderer = Callable[[str, int | None], Render]
OnPictures = Callable[[int], None]
BATCH = 32  # scenes rendered at once; more than a GPU of 8 GB may not hold at 512 pixels


class MakingFailed(InstantIDError):
    """A process that makes pictures died."""


def compose(order: Order, person: int, view: int) -> Picture:
    """Draw a scene of somebody, alone or with others of the data set; the person comes first."""
    numbers = [person, *order.companions_of(person, view)]
    identities = [sample_identity(number, seed=order.seed) for number in numbers]
    return sample_picture(
        identities,
        seed=order.seed_of(person, view),
        framing=order.framing_of(person, view),
        width=order.size,
        height=order.size,
    )


def open_renderer(device: str, threads: int | None = None) -> Render:
    """The renderer of this package, with its assets loaded onto the device; `threads` of this process's, or all."""
    import torch

    from .renderer import Renderer

    if threads:
        torch.set_num_threads(threads)
    return Renderer(device).render


def make(
    order: Order,
    folder: Path,
    *,
    device: str = "cpu",
    workers: int = 1,
    on_pictures: OnPictures = lambda count: None,
    open_renderer: OpenRenderer = open_renderer,
) -> None:
    """Make what is missing of a data set.

    Args:
        open_renderer: (device, threads) → what renders scenes; called once in each process. With several workers
            it must be a function of a module.
        on_pictures: told whenever so many more pictures are there; those of shards from before at once.

    Raises:
        InvalidRequest: the folder holds something else.
        MakingFailed: a process died, of too little memory most of the time.
    """
    open_order(folder, order)
    missing = [shard for shard in range(order.shards) if not (folder / shard_name(shard)).exists()]
    for shard in set(range(order.shards)) - set(missing):
        on_pictures(len(order.people_of(shard)) * order.views * (1 + order.looks_each))
    if not missing:
        return
    if workers == 1:
        render = open_renderer(device, None)
        for shard in missing:
            make_shard(order, shard, folder, render, on_pictures)
    else:
        _make_in_processes(order, missing, folder, open_renderer, device, workers, on_pictures)


def make_shard(order: Order, shard: int, folder: Path, render: Render, on_pictures: OnPictures) -> None:
    """Write one shard."""
    styles = styles_with_looks()
    with ShardWriter(folder / shard_name(shard), quality=order.quality, depth=order.depth) as writer:
        for scenes in _batches(order, shard):
            pictures = [compose(order, person, view) for person, view in scenes]
            for (person, view), picture, rendered in zip(scenes, pictures, render(pictures), strict=True):
                looks = {PHOTO: None} | {look: styles[look] for look in order.looks_of(person, view)}
                writer.write_scene(f"{person:07d}-{view:04d}", rendered, picture, looks)
                on_pictures(len(looks))


def _batches(order: Order, shard: int) -> Iterator[list[tuple[int, int]]]:
    scenes = [(person, view) for person in order.people_of(shard) for view in range(order.views)]
    yield from (scenes[start : start + BATCH] for start in range(0, len(scenes), BATCH))


def _make_in_processes(
    order: Order,
    missing: Sequence[int],
    folder: Path,
    open_renderer: OpenRenderer,
    device: str,
    workers: int,
    on_pictures: OnPictures,
) -> None:
    context = multiprocessing.get_context("spawn")  # CUDA does not live through a fork
    shards, told = context.SimpleQueue(), context.Queue()
    count = min(workers, len(missing))
    for shard in [*missing, *[None] * count]:
        shards.put(shard)
    processes = [
        context.Process(target=_work, args=(order, folder, open_renderer, device, shards, told), daemon=True)
        for _ in range(count)
    ]
    try:
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes) or not told.empty():
            try:
                news = told.get(timeout=0.5)
            except queue.Empty:
                news = 0
            if isinstance(news, InstantIDError):
                raise news
            on_pictures(news)
            dead = [process.exitcode for process in processes if process.exitcode]
            if dead:
                raise MakingFailed(
                    f"A process that makes pictures ended with {dead[0]}, often for want of memory. What is done is "
                    "kept: the same command goes on; fewer --workers need less memory."
                )
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _work(
    order: Order,
    folder: Path,
    open_renderer: OpenRenderer,
    device: str,
    shards: multiprocessing.SimpleQueue,
    told: multiprocessing.Queue,
) -> None:
    """Make shards until a None comes. Runs in a process of its own, on one thread: there are as many as cores."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who ends this
    cv2.setNumThreads(1)
    try:
        render = open_renderer(device, 1)
        while (shard := shards.get()) is not None:
            make_shard(order, shard, folder, render, told.put)
    except InstantIDError as error:
        told.put(error)
