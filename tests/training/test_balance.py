"""Tests of how often the training data is seen."""

from __future__ import annotations

from compass.data.classes import class_of, name_classes, number_classes
from compass.data.example import Example
from compass.training.balance import class_repeats


def _rows(*responses: str) -> list[Example]:
    return [Example(id=str(i), prompt="p", response=response) for i, response in enumerate(responses)]


def test_a_kind_is_the_function_called_or_a_short_answer() -> None:
    """Slots must not make kinds: a timer of 5 minutes and one of 6 are the same function."""
    assert class_of('{"intent":"StartTimer","minutes":5}') == class_of('{"intent":"StartTimer","minutes":6}')
    assert class_of(" Yes ") == "yes"
    assert class_of("This answer is a whole sentence and so has no kind.") == ""


def test_rare_answers_are_repeated_up_to_the_commonest_and_no_further() -> None:
    """By hand: ten of A, two of B, one of C with a limit of 5."""
    rows = _rows(*['{"intent":"A"}'] * 10, *['{"intent":"B"}'] * 2, '{"intent":"C"}')
    assert class_repeats(rows, 5) == [1] * 10 + [5] * 2 + [5]
    assert class_repeats(rows, 3) == [1] * 10 + [3] * 3
    assert class_repeats(rows, 1) == [1] * 13


def test_free_text_is_seen_once() -> None:
    """Free text has no classes to balance; weighting it by luck would distort it."""
    assert class_repeats(_rows("a long answer that is a sentence", "another one, just as long"), 5) == [1, 1]
    assert class_repeats([], 5) == []


def test_short_answers_that_hardly_recur_are_no_classes() -> None:
    """Sums whose result is 18 twice would make every other sum be seen twice as well; a rare class still is."""
    assert class_repeats(_rows("18", "18", "3", "70", "540", "26"), 5) == [1] * 6
    assert class_repeats(_rows("yes", "yes", "yes", "no"), 5) == [1, 1, 1, 3]
    mixed = _rows("18", "18", "3", "70", *['{"intent":"A"}'] * 2, '{"intent":"B"}')
    assert class_repeats(mixed, 5) == [1, 1, 1, 1, 1, 1, 2]


def test_kinds_of_answer_are_numbered_alike_in_all_sets():
    """Breaks if the same function has two numbers, or if free text gets one."""
    one, two = number_classes(
        _rows("yes", '{"intent":"A"}'), _rows('{"intent":"A","x":1}', "no", "a long sentence of no kind")
    )
    assert one[1] == two[0]
    assert len({*one.tolist(), *two.tolist()}) == 4
    assert two[2] == -1
    assert min(one) >= 0


def test_a_long_answer_that_recurs_is_a_label():
    """Breaks if class labels above the length of a short answer are taken for free text, or free text for labels."""
    long = "the card payment was charged a fee"
    named = name_classes(_rows(*[long] * 5, "a long sentence of no kind"), _rows(f" {long.capitalize()} ", *[long] * 4))
    assert named == ([long] * 5 + [""], [long] * 5)
    assert name_classes(_rows(*[long] * 9)) == ([""] * 9,)
