from __future__ import annotations

import contextlib
import io
import logging

import pytest

from compass.progress import duration, pace, progress


@pytest.mark.parametrize(
    ("done", "seconds", "text"),
    [
        (8200, 1.0, "8,200 rows/s"),
        (47, 10.0, "4.7 rows/s"),
        (10, 10.0, "1.0 rows/s"),
        (2, 300.0, "150 s each"),
        (0, 5.0, "0 rows/s"),
    ],
)
def test_a_pace_is_readable_whatever_it_is(done, seconds, text):
    """Breaks if slow work is shown as 0.0 a second."""
    assert pace(done, seconds, "rows") == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(89, "about 89 s"), (90, "about 2 min"), (2600, "about 43 min"), (12600, "about 3.5 h")]
)
def test_durations_have_the_unit_of_their_size(seconds, text):
    """Breaks if a unit is divided by the wrong number or begins at the wrong place."""
    assert duration(seconds) == text


def test_a_log_line_comes_every_ten_seconds_at_most(caplog):
    """Breaks if each unit has a line, or if the time left counts what is done: cells that take six seconds each."""
    now = map(float, range(0, 60, 6))
    with (
        contextlib.redirect_stderr(io.StringIO()),
        caplog.at_level(logging.INFO, logger="compass.progress"),
        progress("Cells", 9, "cells", clock=lambda: next(now)) as advance,
    ):
        for _ in range(4):
            advance()
    assert caplog.messages == [
        "Cells: 2 of 9 cells, 6.0 s each, about 42 s left",
        "Cells: 4 of 9 cells, 6.0 s each, about 30 s left",
    ]


def test_the_last_line_promises_no_time(caplog: pytest.LogCaptureFixture) -> None:
    """A comparison ended with `4 of 4 cells, 39 s each, about 0 s left`."""
    clock = iter([0.0, 60.0, 120.0])
    with (
        contextlib.redirect_stderr(io.StringIO()),
        caplog.at_level("INFO"),
        progress("Cells", 2, "cells", clock=lambda: next(clock)) as advance,
    ):
        advance(1)
        advance(1)
    assert caplog.messages == ["Cells: 1 of 2 cells, 60 s each, about 60 s left", "Cells: 2 of 2 cells, 60 s each"]
