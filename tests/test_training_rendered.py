"""Rendered people cut out close: the face fills what was asked for, and everything that is told of it moves along."""

from pathlib import Path

import numpy as np
import pytest

from instantid import bundles, faces
from instantid.training import preparing, rendered
from instantid.training.photos import Wishes
from instantid.training.prepared import Prepared
from instantid.training.rendered import Cut

SAMPLE = Path(__file__).parents[1] / "assets" / "people-sample"


@pytest.fixture(scope="module")
def whole_and_close(tmp_path_factory):
    finder = faces.load_finder("opencv", bundles.face_files_folder())
    made = []
    for fill in (0.0, 0.58):
        folder = tmp_path_factory.mktemp("prepared")
        rendered.prepare_shard(next(SAMPLE.glob("*.tar")), folder, finder, size=128, fill=fill)
        made.append(Prepared(folder))
    return made


def test_faces_fill_what_was_asked_for(whole_and_close):
    whole, close = whole_and_close
    assert np.array_equal(whole.found, close.found)
    assert np.array_equal(whole.embeddings, close.embeddings), "they are those of the whole picture"
    before, after = (
        (each.boxes[:, 2] - each.boxes[:, 0])[each.found] / each.size for each in whole_and_close
    )
    small = before < 0.45
    assert small.sum() > 10 and after[small].min() > 0.45 and after[small].max() < 0.7
    assert (after[~small] > before[~small] - 0.15).all()
    middle = (close.boxes[close.found][:, :2] + close.boxes[close.found][:, 2:]) / 2
    assert np.abs(middle[small] / 128 - 0.5).mean() < 0.12


def test_all_looks_of_a_scene_are_cut_alike_and_what_is_told_moves_along(whole_and_close):
    _, close = whole_and_close
    scenes: dict[str, list[int]] = {}
    for i, record in enumerate(close.records):
        scenes.setdefault(record["scene"], []).append(i)
    for same in scenes.values():
        assert all(np.array_equal(close.keypoints[i], close.keypoints[same[0]]) for i in same)
    apart = [
        np.abs(np.array(close.records[i]["figures"][0]["face_keypoints"]) - close.keypoints[i]).max()
        for i in np.flatnonzero(close.found)
    ]
    eyes = np.linalg.norm(close.keypoints[close.found][:, 1] - close.keypoints[close.found][:, 0], axis=1)
    assert np.median(np.array(apart) / eyes) < 0.3, "what the finder saw and what was drawn lie together"


def test_a_cut_maps_pixels_and_points_alike():
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[40:44, 60:64] = 255
    cut = Cut(left=50, top=30, side=20)
    seen = cut.picture(picture, 80)
    y, x = np.argwhere(seen[:, :, 0] > 128).mean(axis=0) + 0.5
    assert cut.points([[62, 42]], 80) == pytest.approx(np.array([[x, y]]), abs=0.6)
    assert cut.picture(picture[:, :, 0], 80).shape == (80, 80)
    assert rendered._moved([62, 42, 64, 44], cut, 80) == [48, 48, 56, 56]
    assert rendered._moved([[62, 42, 0.5]], cut, 80) == [[48, 48, 0.5]]


def test_a_folder_prepared_before_there_was_such_a_wish_is_gone_on_with(tmp_path):
    source = preparing.recognise(SAMPLE)
    models = ("opencv", bundles.face_files_folder())
    preparing.prepare(source, tmp_path / "out", Wishes(size=64, min_side=64), models)
    said = tmp_path / "out" / preparing.ORDERED
    said.write_text(said.read_text().replace('"fill": 0.0', '"alone": false'))
    preparing.prepare(source, tmp_path / "out", Wishes(size=64, min_side=64), models)
    with pytest.raises(preparing.InvalidRequest, match="fill changed"):
        preparing.prepare(source, tmp_path / "out", Wishes(size=64, min_side=64, fill=0.5), models)
