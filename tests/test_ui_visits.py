"""A visitor's folder: found again by its key, nobody else's, gone when they are."""

import os
import subprocess
import sys
import time

import pytest

from instantid.ui.visits import KEPT, Visits


@pytest.fixture
def visits(tmp_path):
    return Visits(tmp_path / "visits")


def fill(visit):
    visit.comparison.mkdir(parents=True)
    (visit.comparison / "picture.png").touch()
    return visit.folder


def test_only_the_key_opens_a_visit_and_its_folder_does_not_tell_it(visits):
    mine = visits.enter("my secret")
    assert visits.enter("my secret") == mine
    others = [visits.enter(key) for key in ("another", "my secret ", "../my secret", "", "")]
    assert len({mine, *others}) == 6
    assert all(visit.folder.parent == mine.folder.parent for visit in others)
    assert "secret" not in mine.folder.name
    assert mine.folder.parent.stat().st_mode & 0o777 == 0o700


def test_what_a_visitor_made_outlives_a_reload_and_goes_with_their_last_session(visits):
    first = visits.enter("mine")
    folder = fill(first)
    second = visits.enter("mine")
    visits.leave(first)
    assert (second.comparison / "picture.png").exists()
    visits.leave(second)
    assert not folder.exists()
    visits.leave(None)


def test_what_a_crash_left_is_found_again_for_a_day(visits, tmp_path):
    mine, other = (fill(visits.enter(key)) for key in ("mine", "other"))
    after = Visits(tmp_path / "visits")  # the program is started anew
    for path in (other / "comparison", other):
        os.utime(path, (0, time.time() - KEPT - 1))
    assert after.enter("mine").folder == mine and mine.exists()
    assert not other.exists()


def test_nothing_is_left_when_the_program_ends(tmp_path):
    program = (
        "import sys; from pathlib import Path; from instantid.ui.visits import Visits\n"
        "visits = Visits(Path(sys.argv[1])); visits.enter('a').batch.mkdir(parents=True); sys.exit(3)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "visits")])
    assert ended.returncode == 3 and not (tmp_path / "visits").exists()
