import threading

import pytest

from instantid.memo import Memo


def test_a_value_is_computed_once():
    memo, made = Memo(2), []
    assert [memo("a", lambda: made.append(1) or len(made)) for _ in range(3)] == [1, 1, 1]


def test_the_longest_unasked_goes_first():
    memo = Memo(2)
    for key in "aba":
        memo(key, lambda: "old")
    memo("c", lambda: "new")
    assert memo("a", lambda: "again") == "old"
    assert memo("b", lambda: "again") == "again"


def test_what_fails_is_not_kept():
    memo = Memo(2)
    with pytest.raises(ZeroDivisionError):
        memo("a", lambda: 1 / 0)
    assert memo("a", lambda: "well") == "well"


def test_others_do_not_wait_for_a_value_in_the_making():
    memo, go_on = Memo(2), threading.Event()
    slow = threading.Thread(target=lambda: memo("slow", lambda: go_on.wait(10)))
    slow.start()
    assert memo("quick", lambda: "done") == "done"
    go_on.set()
    slow.join()
