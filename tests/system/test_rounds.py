"""Turns in rounds, and the figures of their times."""

from __future__ import annotations

import pytest

from swift_export.system.rounds import Timing, take_turns, timed


def test_figures_of_times() -> None:
    timing = Timing([4.0, 1.0, 2.0, 3.0, 5.0])
    assert (timing.median, timing.best, timing.quartiles) == (3.0, 1.0, (2.0, 4.0))
    assert timing.spread == pytest.approx(1 / 3)
    assert timing.ratio(Timing([6.0])) == 0.5
    assert Timing([7.0]).quartiles == (7.0, 7.0)


def test_everyone_runs_once_per_round_and_who_drops_out_is_left_out() -> None:
    order, left = [], iter([[1.0], [2.0], None])

    def run(name: str) -> list[float]:
        order.append(name)
        return [float(len(order))]

    turns = {"first": lambda: run("first"), "dropped": lambda: next(left), "last": lambda: run("last")}
    found = take_turns(turns, least=3, ignored=1)

    assert order == ["first", "last"] * 4
    assert found == {"first": [3.0, 5.0, 7.0], "last": [4.0, 6.0, 8.0]}


def test_rounds_go_on_until_the_time_has_passed() -> None:
    found = take_turns({"one": lambda: timed(lambda: None)}, least=1, seconds=0.02)
    assert len(found["one"]) > 1
    assert take_turns({}, least=5) == {}
    assert len(timed(lambda: None, least=3)) == 3
    assert len(timed(lambda: None, seconds=0.002)) > 1
