"""The annotator stage: what it teaches is what the engine's annotators then read off a photo."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from instantid import bundles
from instantid.controls import Annotators, readable
from instantid.errors import InvalidRequest
from instantid.evaluation.maps import depth_error, line_error
from instantid.request import Control
from instantid.skeletons import draw_skeletons
from instantid.training.annotator import SPREAD, AnnotatorTask, Options
from instantid.training.maps import draw_depth, skeletons_of
from instantid.training.prepared import FAR, Example, Prepared, write_piece

SIDE = 64
EXACT = {"zoom": 0.0, "turn": 0.0, "light": 0.0, "grey": 0.0}


def example(number: int, *, bodies: int = 1, depth: bool = True) -> Example:
    """A box with two eyes and a nose, near where it is."""
    random = np.random.default_rng(number)
    x, y = random.integers(4, 28, 2)
    image = random.integers(0, 30, (SIDE, SIDE, 3), dtype=np.uint8)
    image[y : y + 30, x : x + 30] = (150, 110, 90)
    face = np.array([[8, 8], [22, 8], [15, 16], [9, 24], [21, 24]]) + np.array([x, y])
    for (across, down), colour in zip(face, [(255, 0, 0), (0, 255, 0), (0, 0, 255)], strict=False):
        image[down - 2 : down + 3, across - 2 : across + 3] = colour
    far = np.full((SIDE, SIDE), FAR if depth else 0, np.uint8)
    if depth:
        far[y : y + 30, x : x + 30] = 60
    figure = {"face_keypoints": face.tolist(), "face_visible": [True] * 5}
    figure |= {"body_keypoints": [[0, 90]] * 12, "body_visible": [False] * 12}
    record = {"caption": "a box", "figures": [figure] * bodies}
    return Example(image=image, face=None, person=number, depth=far, record=record)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    several = [*map(example, range(8)), example(8, bodies=2), example(9, depth=False)]
    write_piece(folder / "boxes", several, width=4)
    return Prepared(folder)


@pytest.fixture
def bundle(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))


def task_for(bundle, prepared, kind, chosen=range(10), **more) -> AnnotatorTask:
    return AnnotatorTask(bundle, prepared, np.array(chosen), np.arange(3), Options(kind=kind, **more))


def learn(task: AnnotatorTask, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW(task.parameters(), lr=2e-3)
    losses = []
    for _ in range(steps):
        loss = task(range(8))["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", ["pose", "depth"])
def test_what_is_learned_is_what_the_engine_reads_off_a_photo(bundle, prepared, kind):
    torch.manual_seed(0)
    task = task_for(bundle, prepared, kind, **EXACT)
    losses = learn(task, 160)
    assert losses[-1] < 0.4 * losses[20]
    task.save(bundle)
    opened = bundles.open_bundle(bundle)
    assert kind in readable(opened)
    annotators = Annotators(opened)
    errors = np.empty((3, 3))
    for found in range(3):
        photo = Image.fromarray(prepared.images([found])[0]).resize((160, 160), Image.Resampling.BICUBIC)
        read = annotators.draw(kind, photo, Control())
        assert read.size == photo.size and read.mode == "RGB"
        read = np.asarray(read.resize((SIDE, SIDE)))
        for wanted in range(3):
            if kind == "pose":
                truth = draw_skeletons(skeletons_of(prepared.records[wanted], SIDE), SIDE, SIDE)
                errors[found, wanted] = line_error(read, np.asarray(truth))
            else:
                errors[found, wanted] = depth_error(read, draw_depth(prepared.depth([wanted])[0]))
    # Lines of one pixel meet those that are half a pixel off half of the time.
    assert np.diag(errors).max() < (0.6 if kind == "pose" else 0.2), errors
    assert (errors.argmin(axis=1) == range(3)).all(), errors


def dots(seen: torch.Tensor, side: int) -> torch.Tensor:
    """Heat (b, 17, side, side) where coloured dots are in pictures: COCO's nose is blue, its left eye green."""
    heat = torch.zeros(len(seen), 17, side, side)
    steps = torch.arange(side)
    for row, own in ((0, 2), (1, 1), (2, 0)):
        others = [i for i in range(3) if i != own]
        weight = (seen[:, own] - seen[:, others].amax(dim=1)).clamp(min=1) - 1
        total = weight.sum(dim=(1, 2))
        for i, each in enumerate(weight):
            places = [(each.sum(dim=1 - axis) * torch.arange(SIDE)).sum() / total[i] for axis in (0, 1)]
            down, across = (
                torch.exp(-((steps - place * (side - 1) / (SIDE - 1)) ** 2) / (2 * SPREAD**2))
                for place in places
            )
            heat[i, row] = down[:, None] * across
    return heat


def box(seen: torch.Tensor) -> torch.Tensor:
    return (seen.amax(dim=1) > -0.5).float()


@pytest.mark.parametrize("kind", ["pose", "depth"])
def test_pictures_move_and_their_truth_with_them(bundle, prepared, kind):
    """Who reads what was moved right makes no mistake, unless its truth stayed where it was."""
    task = task_for(bundle, prepared, kind, turn=15.0, zoom=0.3)
    torch.manual_seed(1)
    moves, still = [task._drawn_move() for _ in range(8)], [task._move()] * 8
    seen = task._seen(range(8), moves)

    def right(pictures):
        return SimpleNamespace(heatmaps=dots(pictures, 16), predicted_depth=box(pictures))

    moved, unmoved = (
        float(task._reader.figures(right, seen, range(8), each)["loss"]) for each in (moves, still)
    )
    assert moved < 0.15 and unmoved > 2 * moved, (moved, unmoved)


def test_only_pictures_whose_truth_is_known_are_learned_from(bundle, prepared):
    assert len(task_for(bundle, prepared, "pose")) == 9, "with two bodies, whose is asked for?"
    assert len(task_for(bundle, prepared, "depth")) == 9
    for kind, chosen, missing in (("pose", [8], "skeleton of one person"), ("depth", [9], "depth")):
        with pytest.raises(InvalidRequest, match=f"no picture in .*{missing}.* is known"):
            task_for(bundle, prepared, kind, chosen)


@pytest.mark.parametrize("kind", ["pose", "depth"])
def test_it_begins_alike_and_may_go_on(bundle, prepared, kind):
    one, other = (task_for(bundle, prepared, kind) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))
    learn(one, 2)
    one.save(bundle)
    further = task_for(bundle, prepared, kind, fresh=False)
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), further.parameters(), strict=True))


def test_what_another_made_is_not_gone_on_with(bundle, prepared):
    task_for(bundle, prepared, "pose").save(bundle)
    file = bundle / "annotators" / "pose" / "preprocessor_config.json"
    file.write_text(file.read_text().replace(str(SIDE), "256"))
    with pytest.raises(InvalidRequest, match="fresh: true"):
        task_for(bundle, prepared, "pose", fresh=False)
    (bundle / "annotators" / "pose" / "config.json").unlink()
    file.unlink()  # as OpenPose's folder lies
    with pytest.raises(InvalidRequest, match="fresh: true"):
        task_for(bundle, prepared, "pose", fresh=False)


def test_where_nobody_is_shown_there_is_no_sheet(bundle, prepared):
    nobody = np.arange(0)
    assert AnnotatorTask(bundle, prepared, np.arange(4), nobody, Options(kind="depth")).sheet() is None


@pytest.mark.parametrize("kind", ["pose", "depth"])
def test_the_sheet_shows_pictures_and_what_is_read(bundle, prepared, kind):
    assert task_for(bundle, prepared, kind).sheet().size == (3 * 66 - 2, 2 * 66 - 2)
