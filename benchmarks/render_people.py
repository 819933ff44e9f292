"""How many rendered people a minute: each step of making a data set, and the whole of it in several processes.

python benchmarks/render_people.py --device cuda --workers 12
python benchmarks/render_people.py --size 128 --size 192 --size 512 --scenes 32
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from instantid.training.people import making
from instantid.training.people.looks import PHOTO, styles_with_looks
from instantid.training.people.orders import Order
from instantid.training.people.shards import ShardWriter

console = Console()


def main(
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    size: Annotated[list[int], typer.Option(help="Width and height; repeatable.")] = [192],  # noqa: B006
    scenes: Annotated[int, typer.Option(min=8, help="Photos in each measurement.")] = 64,
    looks: Annotated[int, typer.Option(min=0, help="Further pictures of each scene.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes for the whole; 0: leave it out.")] = 0,
) -> None:
    """Measure and print a table."""
    render = making.open_renderer(device)
    table = Table(
        "step", *(f"{side} px, ms a picture (of processor)" for side in size), title=_machine(device)
    )
    columns = [_steps(Order(people=scenes // 4, views=4, size=side, looks=looks), render) for side in size]
    for step in columns[0]:
        table.add_row(step, *(f"{column[step][0]:.1f} ({column[step][1]:.1f})" for column in columns))
    one = [sum(wall for wall, _ in column.values()) for column in columns]
    table.add_row("one process, pictures a minute", *(f"{60_000 / total:.0f}" for total in one))
    if workers:
        whole = [_whole(device, side, scenes * workers, looks, workers) for side in size]
        table.add_row(f"{workers} processes, pictures a minute", *(f"{speed:.0f}" for speed in whole))
    console.print(table)
    if device == "cuda":
        console.print(
            f"At most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of GPU memory in one process."
        )


def _steps(order: Order, render: making.Render) -> dict[str, tuple[float, float]]:
    """Milliseconds a picture (photo or look) of each step, warmed up: by the clock, and of this process."""
    scenes = [(person, view) for person in range(order.people) for view in range(order.views)]
    spent: dict[str, tuple[float, float]] = {}

    def timed(step: str, work: Callable[[], object]) -> object:
        start, worked = time.perf_counter(), time.process_time()
        result = work()
        spent[step] = tuple(
            seconds * 1000 / order.pictures
            for seconds in (time.perf_counter() - start, time.process_time() - worked)
        )
        return result

    pictures = timed("draw the scenes", lambda: [making.compose(order, *scene) for scene in scenes])
    render(pictures[:8])
    batches = range(0, len(pictures), making.BATCH)
    rendered = timed(
        "render photo and truth",
        lambda: [one for start in batches for one in render(pictures[start : start + making.BATCH])],
    )
    styles = styles_with_looks()

    def write(folder: str) -> None:
        with ShardWriter(Path(folder) / "shard.tar", quality=order.quality, depth=order.depth) as writer:
            for number, (scene, picture, one) in enumerate(zip(scenes, pictures, rendered, strict=True)):
                names = order.looks_of(*scene)
                writer.write_scene(
                    f"{number:05d}", one, picture, {PHOTO: None} | {n: styles[n] for n in names}
                )

    with tempfile.TemporaryDirectory() as folder:
        timed("looks, captions, WebP, shards", lambda: write(folder))
    return spent


def _whole(device: str, side: int, scenes: int, looks: int, workers: int) -> float:
    """Pictures a minute once every process is at work: the time of opening the renderer is taken off."""
    order = Order(
        people=scenes // 4,
        views=4,
        size=side,
        looks=looks,
        people_per_shard=max(1, scenes // 4 // workers // 2),
    )
    done: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        making.make(
            order, Path(folder) / "set", device=device, workers=workers,
            on_pictures=lambda count: done.append((time.perf_counter(), count)),
        )  # fmt: skip
    told = [(when, count) for when, count in done if count]
    return sum(count for _, count in told[1:]) / (told[-1][0] - told[0][0]) * 60


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"processor, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    typer.run(main)
