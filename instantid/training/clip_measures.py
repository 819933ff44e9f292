"""How well words and pictures find each other: retrieval, and what a CLIP that has only met captions can tell.

Measured on pictures that were kept out of training. Each figure stands beside what guessing would give.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..styles import load_styles
from .clip import ClipTask, texts_of
from .people.looks import PHOTO
from .people.words import HAIR_COLOURS
from .prepared import Prepared

NOUNS = ("man", "woman")


@torch.no_grad()
def measure(task: ClipTask, prepared: Prepared, held_out: np.ndarray) -> dict[str, float]:
    """Ask about pictures that `task` has not learned from; by “…_by_chance” is told what guessing gives.

    Args:
        held_out: which pictures of `prepared`; a few hundred. People in them should not be in those learned from.

    Returns:
        `text_to_picture@1` and `@5`, `picture_to_text@1` and `@5` by full captions (where several pictures share a
        caption, each is right), and by words alone: `look@1`, `look@5` (which preset a look is of), `hair` (its
        colour) and `sex` of people alone in photos. Shares, 0 to 1; what no picture is known to have is left out.
    """
    was_training = task.training
    task.eval()
    records = [prepared.records[i] for i in held_out]
    seen = task.embed_pictures(prepared.images(held_out))  # (n, space)
    styles = load_styles()
    figures = _retrieval(task, seen, [texts_of(record, styles) for record in records])
    looks = [look if (look := record.get("look")) in styles else None for record in records]
    figures |= _zero_shot(task, seen, looks, lambda look: styles[look].apply("", "")[0], "look", best=(1, 5))
    hair = [_hair(record) for record in records]
    figures |= _zero_shot(task, seen, hair, lambda colour: f"a photo of a person with {colour} hair", "hair")
    sexes = [noun if (noun := _alone(record).get("noun")) in NOUNS else None for record in records]
    figures |= _zero_shot(task, seen, sexes, lambda noun: f"a photo of a {noun}", "sex")
    task.train(was_training)
    return figures


def _retrieval(task: ClipTask, seen: torch.Tensor, texts: Sequence[dict[str, str]]) -> dict[str, float]:
    told = [next(iter(each.values()), None) for each in texts]
    asked = [i for i, text in enumerate(told) if text]
    if not asked:
        return {}
    captions = [told[i] for i in asked]
    closeness = task.embed_texts(captions) @ seen[asked].T  # (texts, pictures)
    same = torch.tensor([[one == other for other in captions] for one in captions], device=closeness.device)
    figures = {"pictures": float(len(captions))}
    for name, rows in (("text_to_picture", closeness), ("picture_to_text", closeness.T)):
        for k in (1, 5):
            figures[f"{name}@{k}"] = _share(rows, same, k)
    return figures | {"@1_by_chance": float(same.float().mean())}


def _zero_shot(
    task: ClipTask,
    seen: torch.Tensor,
    answers: Sequence[str | None],
    sentence: Callable[[str], str],
    name: str,
    best: tuple[int, ...] = (1,),
) -> dict[str, float]:
    """How often the sentence of the right answer is among the nearest; guessing: always the commonest answer."""
    known = [i for i, answer in enumerate(answers) if answer]
    classes = sorted({answers[i] for i in known})
    if len(classes) < 2:
        return {}
    rows = seen[known] @ task.embed_texts([sentence(each) for each in classes]).T  # (pictures, classes)
    right = torch.tensor([[answers[i] == each for each in classes] for i in known], device=rows.device)
    figures = {name if best == (1,) else f"{name}@{k}": _share(rows, right, k) for k in best}
    commonest = Counter(answers[i] for i in known).most_common(1)[0][1]
    return figures | {f"{name}_by_chance": commonest / len(known)}


def _share(rows: torch.Tensor, right: torch.Tensor, k: int) -> float:
    """Of rows with something right among their k largest."""
    best = rows.topk(min(k, rows.shape[1]), dim=1).indices
    return float(right.gather(1, best).any(dim=1).float().mean())


def _hair(record: dict) -> str | None:
    said = _alone(record).get("hair") or ""
    fitting = [colour for colour in HAIR_COLOURS if f" {colour} " in f" {said} "]
    return max(fitting, key=len, default=None)


def _alone(record: dict) -> dict:
    """What is known of the one person in a photo; nothing where there are several. Looks change colours and faces."""
    figures = record.get("figures", [])
    return figures[0].get("attributes", {}) if len(figures) == 1 and record.get("look") == PHOTO else {}
