"""A small network that sees on a picture what a prompt can ask for; trained on rendered people in minutes.

It is only as good as its accuracy on people it has not met, which goes wherever its verdicts go.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import InvalidRequest
from ..training.people.looks import PHOTO
from ..training.people.orders import NAME, present_shards, read_order
from ..training.people.shards import read_shards
from ..training.rendered import Cut
from .attributes import AGES, ANOTHER, ASKED_LOOKS, CLOTHES, HAIR, PLACES, SEXES, read_labels

SIDE = 128  # of the pictures it looks at, pixels
CLASSES: Mapping[str, tuple[str, ...]] = {
    "hair": tuple(HAIR),
    "age": AGES,
    "sex": SEXES,
    "clothes": tuple(CLOTHES),
    "place": tuple(PLACES),
    "look": (PHOTO, *ASKED_LOOKS, ANOTHER),
}
WIDTH = 160  # of what the network makes of a place in the picture
PLACES_KEPT = 4  # along each side
FILLS = (0.35, 0.8)  # of a picture's height, by its face: small bundles paint faces large
HELD_OUT = 8  # one person in so many is kept for the accuracy
OnTraining = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the judge is trained."""

    pictures: int = 9000
    steps: int = 2000
    batch: int = 32
    rate: float = 3e-3
    seed: int = 0


class Network(nn.Module):
    """Pictures (n, 3, 128, 128), 0 to 1, to logits by attribute."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *_layer(3, 32, size=5, stride=2),
            nn.MaxPool2d(2),
            *_layer(32, 64),
            *_layer(64, 96, stride=2),
            *_layer(96, 96),
            *_layer(96, 160, stride=2),
            *_layer(160, WIDTH),
        )
        # Portraits have hair at the top, clothes at the bottom and the place at the sides: where things are is kept.
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(PLACES_KEPT), nn.Flatten(), nn.Dropout(0.3))
        features = WIDTH * PLACES_KEPT**2
        self.heads = nn.ModuleDict(
            {name: nn.Linear(features, len(labels)) for name, labels in CLASSES.items()}
        )

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        seen = self.pool(self.body((2 * pictures - 1).contiguous(memory_format=torch.channels_last)))
        return {name: head(seen) for name, head in self.heads.items()}


@dataclass(frozen=True, eq=False)
class AttributeJudge:
    """A trained network, with its accuracy on held-out people by attribute, and how many pictures taught it."""

    network: Network
    accuracy: dict[str, float]
    trained_on: int

    @torch.no_grad()
    def judge(self, pictures: Sequence[Image.Image]) -> list[dict[str, str]]:
        """The most likely class of each attribute, picture by picture."""
        told = []
        for start in range(0, len(pictures), 32):
            batch = np.stack([_scaled(np.asarray(each)) for each in pictures[start : start + 32]])
            logits = self.network(_tensor(batch))
            best = {name: values.argmax(1).tolist() for name, values in logits.items()}
            told += [{name: CLASSES[name][best[name][i]] for name in CLASSES} for i in range(len(batch))]
        return told


def open_judge(
    data: Path, cache: Path, training: Training = Training(), on_step: OnTraining = lambda done, total: None
) -> AttributeJudge:
    """Take the judge of a data set from the cache, or train it and leave it there.

    Args:
        data: a folder of rendered people, as `data make` leaves it.

    Raises:
        InvalidRequest: the folder is no data set, or holds too few people.
    """
    told = json.dumps(
        [(data / NAME).read_text() if (data / NAME).exists() else "", asdict(training), CLASSES, FILLS]
    )
    shards = list(present_shards(data, read_order(data)))
    mark = hashlib.sha256((told + str(len(shards))).encode()).hexdigest()[:16]
    file = cache / f"attributes-{mark}.safetensors"
    if not file.exists():
        judge = train(*read_pictures(shards, training), training, on_step)
        cache.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        facts = {"accuracy": judge.accuracy, "pictures": judge.trained_on}
        save_file(
            {name: weight.contiguous() for name, weight in judge.network.state_dict().items()},
            part,
            {"facts": json.dumps(facts)},
        )
        part.replace(file)
    network = Network()
    with safe_open(file, "pt") as saved:
        network.load_state_dict({name: saved.get_tensor(name) for name in network.state_dict()})
        facts = json.loads(saved.metadata()["facts"])
    return AttributeJudge(network.eval(), facts["accuracy"], facts["pictures"])


def read_pictures(
    shards: Sequence[Path], training: Training
) -> tuple[np.ndarray, list[dict[str, str]], np.ndarray]:
    """Pictures (n, 128, 128, 3) uint8 with one person, nearer or farther, their labels, and whose (n,) they are."""
    pictures, labels, people = [], [], []
    random = np.random.default_rng(training.seed)
    for sample in read_shards(shards, lambda record: len(record["figures"]) == 1):
        [seen] = sample.record["figures"]
        cut = _framed(len(sample.image), seen["face_box"], random.uniform(*FILLS))
        pictures.append(cut.picture(sample.image, SIDE))
        labels.append(read_labels(sample.record))
        people.append(sample.record["person"])
        if len(pictures) == training.pictures:
            break
    if len(set(people)) < 2:
        raise InvalidRequest(
            "There are too few rendered people to train the judge of attributes on. Make some hundreds: "
            f"python -m instantid data make FOLDER --people 500 --size {SIDE}"
        )
    return np.stack(pictures), labels, np.array(people)


def train(
    pictures: np.ndarray,
    labels: Sequence[Mapping[str, str]],
    people: np.ndarray,
    training: Training,
    on_step: OnTraining = lambda done, total: None,
) -> AttributeJudge:
    """Train on most people and measure on the others. Arguments are those of `read_pictures`."""
    held = np.isin(people, np.unique(people)[::HELD_OUT])
    wanted = {
        name: torch.tensor([of.index(label[name]) if name in label else -1 for label in labels])
        for name, of in CLASSES.items()
    }
    random = np.random.default_rng(training.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        network = Network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), training.rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.rate, total_steps=training.steps)
    at = np.flatnonzero(~held)
    weights = {name: _weights(wanted[name][at], len(of)) for name, of in CLASSES.items()}
    for step in range(training.steps):
        chosen = random.choice(at, training.batch)
        logits = network(_tensor(np.stack([_roughened(pictures[i], random) for i in chosen])))
        losses = [
            nn.functional.cross_entropy(logits[name], target, weights[name], ignore_index=-1)
            for name in CLASSES
            if ((target := wanted[name][chosen]) >= 0).any()
        ]
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        schedule.step()
        on_step(step + 1, training.steps)
    judge = AttributeJudge(network.eval(), {}, len(at))
    told = judge.judge([Image.fromarray(pictures[i]) for i in np.flatnonzero(held)])
    return replace(judge, accuracy=_accuracy(told, [labels[i] for i in np.flatnonzero(held)]))


def _weights(targets: Tensor, classes: int) -> Tensor:
    """Rare classes count as much as frequent ones, or verdicts would lean to these; but nothing counts 20 times."""
    counts = torch.bincount(targets[targets >= 0], minlength=classes).float()
    weights = (counts.sum() / counts.clamp(min=1) / classes).clamp(max=20)
    return weights * (counts > 0)


def _accuracy(told: Sequence[Mapping[str, str]], true: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """By attribute, the mean over its classes of how often each is recognised: prompts ask for all alike."""
    shares = {}
    for name, classes in CLASSES.items():
        each = [
            [a[name] == b[name] for a, b in zip(told, true, strict=True) if b.get(name) == one]
            for one in classes
        ]
        if sum(map(bool, each)) > 1:  # of one class alone everything is right
            shares[name] = float(np.mean([np.mean(hits) for hits in each if hits]))
    return shares


def _layer(into: int, out: int, *, size: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(into, out, size, stride=stride, padding=size // 2, bias=False)
    return convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True)


def _roughened(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Mirrored, moved, blurred and noisy, as out of a small autoencoder: sharpness must not matter."""
    if random.random() < 0.5:
        picture = picture[:, ::-1]
    picture = np.roll(picture, random.integers(-6, 7, 2), axis=(0, 1))
    if random.random() < 0.6:
        small = int(random.integers(SIDE // 3, SIDE))
        picture = cv2.resize(cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA), (SIDE, SIDE))
    noise = random.normal(0, random.uniform(0, 6), picture.shape[:2])[..., None]
    return np.clip(picture * random.uniform(0.93, 1.07) + noise, 0, 255).astype(np.uint8)


def _framed(of: int, face: Sequence[float], fill: float) -> Cut:
    """A square in which the face is that large, as far as a picture that is `of` wide goes around it."""
    left, top, right, bottom = face
    side = round((bottom - top) / fill)
    if not 0 < side < of:
        return Cut(0, 0, of)
    return Cut.about(np.array([left + right, top + bottom]) / 2, side, of)


def _scaled(picture: np.ndarray) -> np.ndarray:
    if picture.shape[:2] == (SIDE, SIDE):
        return picture
    way = cv2.INTER_AREA if min(picture.shape[:2]) > SIDE else cv2.INTER_CUBIC
    return cv2.resize(picture, (SIDE, SIDE), interpolation=way)


def _tensor(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
