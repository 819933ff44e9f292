"""What a data set is to hold, and which scene and look each of its pictures has: all follows from the order."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...errors import InvalidRequest
from .looks import LOOKS
from .scenes import FRAMINGS

FORMAT = 3  # rises when the same order would write other files
NAME = "dataset.json"
ALL_LOOKS = -1


@dataclass(frozen=True, kw_only=True)
class Order:
    """A data set before it is made. The same order gives the same bytes on one device.

    Args:
        people: how many identities, numbered from 0.
        views: scenes of each.
        size: width and height in pixels.
        looks: further pictures of each scene, each in another preset's look; `ALL_LOOKS` for every one.
        seed: of all draws.
        together: share of scenes with one or two others of these people.
        framings: names of `scenes.FRAMINGS` that scenes with one person are drawn from, all alike; empty: all, by
            how likely each is.
        twins: every second scene is the one before it with other hair, clothes, expression and surroundings.
        depth: also keep depth maps, which are as large as the pictures.
        quality: of WebP, 1 to 100.
        people_per_shard: a shard is what a stopped run has to make again.
    """

    people: int = 1000
    views: int = 8
    size: int = 192
    looks: int = 1
    together: float = 0.12
    framings: tuple[str, ...] = ()
    seed: int = 0
    twins: bool = False
    depth: bool = True
    quality: int = 88
    people_per_shard: int = 16

    def __post_init__(self) -> None:
        limits = {
            "people": (1, 1_000_000),
            "views": (1, 10_000),
            "size": (64, 1024),
            "looks": (ALL_LOOKS, len(LOOKS)),
            "together": (0, 1),
            "quality": (1, 100),
            "people_per_shard": (1, 10_000),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InvalidRequest(
                    f"{name} of a data set lies between {low} and {high}; got {getattr(self, name)}."
                )

        if self.twins and self.views % 2:
            raise InvalidRequest(f"Twins come in twos: ask for an even number of views; got {self.views}.")
        if unknown := set(self.framings) - set(FRAMINGS):
            raise InvalidRequest(f"No framing is called {min(unknown)!r}. There are: {', '.join(FRAMINGS)}.")

    @property
    def shards(self) -> int:
        """How many shards it takes."""
        return -(-self.people // self.people_per_shard)

    @property
    def pictures(self) -> int:
        """How many pictures there will be, in whatever look."""
        return self.people * self.views * (1 + self.looks_each)

    @property
    def looks_each(self) -> int:
        """Looks of each scene beside the photo."""
        return len(LOOKS) if self.looks == ALL_LOOKS else self.looks

    def people_of(self, shard: int) -> range:
        """Numbers of the identities that shard `shard` is about."""
        first = shard * self.people_per_shard
        return range(first, min(first + self.people_per_shard, self.people))

    def companions_of(self, person: int, view: int) -> list[int]:
        """Numbers of those who are with somebody in a scene: nobody most of the time."""
        random = np.random.default_rng([self.seed, person, view, 0x70D])
        if self.people < 3 or random.random() >= self.together:
            return []
        count = 1 + int(random.random() < 0.3)
        others = random.choice(self.people - 1, size=count, replace=False)
        return [int(other + (other >= person)) for other in others]

    def looks_of(self, person: int, view: int) -> list[str]:
        """The looks of a scene beside the photo, drawn without repetition."""
        names = list(LOOKS)
        if self.looks == ALL_LOOKS:
            return names
        random = np.random.default_rng([self.seed, person, view, 0x100C])
        return [names[i] for i in random.permutation(len(names))[: self.looks]]

    def framing_of(self, person: int, view: int) -> str | None:
        """How a scene with one person is framed; None: as is likely."""
        if not self.framings or self.companions_of(person, view):
            return None
        random = np.random.default_rng([self.seed, person, view, 0xF2A])
        return self.framings[random.integers(len(self.framings))]

    def seed_of(self, person: int, view: int) -> int:
        """A scene's seed, below 2**31."""
        return int(np.random.default_rng([self.seed, person, view]).integers(2**31))


def shard_name(shard: int) -> str:
    """The file of a shard."""
    return f"people-{shard:05d}.tar"


def open_order(folder: Path, order: Order) -> None:
    """Write the order into a new folder, or see that the one there is the same.

    Raises:
        InvalidRequest: the folder holds another data set, or something else.
    """
    file = folder / NAME
    if file.exists():
        there = read_order(folder)
        if there != order:
            differing = [
                f"{name} {value} (asked: {asdict(order)[name]})"
                for name, value in asdict(there).items()
                if value != asdict(order)[name]
            ]
            raise InvalidRequest(
                f"{folder} holds another data set: {', '.join(differing)}. "
                "Ask for the same to go on with it, or choose a new folder."
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidRequest(f"{folder} is in use for something else: a new or empty folder was wanted.")
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"format": FORMAT, **asdict(order)}, indent=1) + "\n", encoding="utf-8")


def read_order(folder: Path) -> Order:
    """The order of a data set.

    Raises:
        InvalidRequest: there is none, or it was made by another version.
    """
    file = folder / NAME
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        made_by = content.pop("format")
        content["framings"] = tuple(content.get("framings", ()))
        order = Order(**content)
    except OSError:
        raise InvalidRequest(
            f"{folder} is no data set: it has no {NAME}. Make one: python -m instantid data make {folder}"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidRequest(f"{file} is damaged: {error}. Make the data set again.") from None
    if made_by != FORMAT:
        raise InvalidRequest(
            f"{folder} was made by another version (format {made_by}; this one writes {FORMAT}). "
            "Make the data set again in a new folder."
        )
    return order


def present_shards(folder: Path, order: Order) -> Iterator[Path]:
    """The shards that are there, in order."""
    files = (folder / shard_name(shard) for shard in range(order.shards))
    return (file for file in files if file.exists())
