"""Rows, curves and the page: what is told, and that it can be read."""

import json
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from instantid.evaluation import report
from instantid.evaluation.plots import Point, curve
from instantid.evaluation.report import Report
from instantid.evaluation.rows import Goal, Row
from instantid.training.people.separation import Interval

VALUE = Interval(value=0.93, low=0.9, high=0.95)
ALONE = Interval(value=0.93, low=math.nan, high=math.nan)
GOAL = Goal("0.90 or more", lambda told: told.value >= 0.90)


def test_a_goal_is_met_missed_or_not_decided():
    assert Row(section="s", what="w", value=VALUE, goal=GOAL).met is True
    assert Row(section="s", what="w", value=Interval(value=0.5, low=0.4, high=0.6), goal=GOAL).met is False
    assert Row(section="s", what="w", value=VALUE).met is None
    assert Row(section="s", what="w", why="no style adapter", goal=GOAL).met is None
    assert Row(section="s", what="w", value=ALONE, goal=GOAL).met is None
    assert Row(section="s", what="w", value=ALONE, goal=GOAL, over_people=False).met is True


def test_a_curve_is_an_svg_with_its_points():
    points = [Point(0.0, VALUE), Point(1.0, ALONE, "1.0")]
    drawn = ElementTree.fromstring(curve("A < B", "x", "y", {"one": points, "two": points[:1]}))
    assert len(drawn.findall("circle")) == 3 and drawn.get("aria-label") == "A < B"
    places = [float(circle.get("cx")) for circle in drawn.findall("circle")]
    assert places[0] < places[1]
    with pytest.raises(ValueError, match="needs a point"):
        curve("t", "x", "y", {})


@pytest.fixture
def written(tmp_path):
    rows = [
        Row(section="Likeness", what="AUC", condition="default", value=VALUE, pictures=48, goal=GOAL),
        Row(section="Style", what="look", condition="style picture", why="the bundle has no style adapter"),
    ]
    told = Report(
        facts={"bundle": "<mini>"},
        warnings=["untrained"],
        rows=rows,
        plots=[curve("Likeness", "x", "y", {"": [Point(0.0, VALUE)]})],
        pictures={"ada": {"reference": np.zeros((8, 8, 3), np.uint8)}},
        notes=["a note"],
        cited=True,
    )
    told.write(tmp_path)
    return tmp_path


def test_the_page_stands_alone(written):
    page = (written / "index.html").read_text()
    assert "data:image/jpeg;base64," in page and "<svg" in page and "&lt;mini&gt;" in page
    assert 'src="http' not in page and "href=" not in page and "<script" not in page
    assert "not measured: the bundle has no style adapter" in page and 'class="met"' in page
    assert "Cited, not measured here" in page and "DivID-120" in page


def test_the_tables_are_told_in_markdown_and_json(written):
    text = (written / "report.md").read_text()
    assert "| AUC | default | 0.930 (0.900–0.950) | 48 | 0.90 or more | met |" in text
    content = json.loads((written / "report.json").read_text())
    assert content["rows"][0]["low"] == 0.9 and content["rows"][0]["met"] is True
    assert content["rows"][1]["not_measured"] == "the bundle has no style adapter"


def test_published_values_are_pulid_s():
    told = {(row[0], row[1]): row[2:] for row in report._published()}
    assert told["InstantID", "SDXL base"] == ("0.755", "25.33", "0.608", "0.648", "26.41", "0.649")
