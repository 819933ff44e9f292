"""Making a data set: shard by shard, in as many processes as asked for, going on where it stopped."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..processes import Worker, work_through
from .description import Picture
from .identities import sample_identity
from .looks import PHOTO, styles_with_looks
from .orders import Order, open_order, shard_name
from .scenes import sample_picture
from .shards import ShardWriter
from .truth import Rendered
from .twins import reworded, twin_of

Render = Callable[[Sequence[Picture]], list[Rendered]]
OpenRenderer = Callable[[str, int | None], Render]
OnPictures = Callable[[int], None]
BATCH = 32  # scenes rendered at once; more than a GPU of 8 GB may not hold at 512 pixels


def compose(order: Order, person: int, view: int) -> Picture:
    """Draw a scene of somebody, alone or with others of the data set; the person comes first."""
    if order.twins:
        scene = compose(replace(order, twins=False), person, twin_of(view))
        return reworded(scene, order.seed_of(person, view))
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
        ProcessDied: of too little memory most of the time.
    """
    open_order(folder, order)
    missing = [shard for shard in range(order.shards) if not (folder / shard_name(shard)).exists()]
    for shard in set(range(order.shards)) - set(missing):
        on_pictures(len(order.people_of(shard)) * order.views * (1 + order.looks_each))
    threads = None if workers == 1 or len(missing) == 1 else 1  # there are as many processes as cores
    open_worker = partial(_open_worker, order, folder, open_renderer, device, threads)
    work_through(missing, open_worker, workers=workers, on_news=on_pictures)


def make_shard(order: Order, shard: int, folder: Path, render: Render, on_pictures: OnPictures) -> None:
    """Write one shard."""
    styles = styles_with_looks()
    with ShardWriter(folder / shard_name(shard), quality=order.quality, depth=order.depth) as writer:
        for scenes in _batches(order, shard):
            pictures = [compose(order, person, view) for person, view in scenes]
            for (person, view), picture, rendered in zip(scenes, pictures, render(pictures), strict=True):
                looks = {PHOTO: None} | {look: styles[look] for look in order.looks_of(person, view)}
                twin = _scene(person, twin_of(view)) if order.twins else None
                writer.write_scene(_scene(person, view), rendered, picture, looks, twin=twin)
                on_pictures(len(looks))


def _scene(person: int, view: int) -> str:
    return f"{person:07d}-{view:04d}"


def _batches(order: Order, shard: int) -> Iterator[list[tuple[int, int]]]:
    scenes = [(person, view) for person in order.people_of(shard) for view in range(order.views)]
    yield from (scenes[start : start + BATCH] for start in range(0, len(scenes), BATCH))


def _open_worker(
    order: Order, folder: Path, open_renderer: OpenRenderer, device: str, threads: int | None
) -> Worker:
    """What makes one shard. The renderer is opened here, once in each process."""
    render = open_renderer(device, threads)
    return lambda shard, tell: make_shard(order, shard, folder, render, tell)
