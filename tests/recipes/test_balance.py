"""Tests of how often the data at hand is seen."""

from __future__ import annotations

from compass.data.example import Example
from compass.recipes.balance import answer_kind, repeats_by_answer


def _rows(*responses: str) -> list[Example]:
    return [Example(id=str(i), prompt="p", response=response) for i, response in enumerate(responses)]


def test_a_kind_is_the_function_called_or_a_short_answer() -> None:
    """Slots must not make kinds: a timer of 5 minutes and one of 6 are the same function."""
    assert answer_kind('{"intent":"StartTimer","minutes":5}') == answer_kind('{"intent":"StartTimer","minutes":6}')
    assert answer_kind(" Yes ") == "yes"
    assert answer_kind("This answer is a whole sentence and so has no kind.") == ""


def test_rare_answers_are_repeated_up_to_the_commonest_and_no_further() -> None:
    """By hand: ten of A, two of B, one of C with a limit of 5."""
    rows = _rows(*['{"intent":"A"}'] * 10, *['{"intent":"B"}'] * 2, '{"intent":"C"}')
    assert repeats_by_answer(rows, 5) == [1] * 10 + [5] * 2 + [5]
    assert repeats_by_answer(rows, 3) == [1] * 10 + [3] * 3
    assert repeats_by_answer(rows, 1) == [1] * 13


def test_free_text_is_seen_once() -> None:
    """Free text has no classes to balance; weighting it by luck would distort it."""
    assert repeats_by_answer(_rows("a long answer that is a sentence", "another one, just as long"), 5) == [1, 1]
    assert repeats_by_answer([], 5) == []
