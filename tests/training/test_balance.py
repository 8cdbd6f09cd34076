"""Tests of how often the data at hand is seen."""

from __future__ import annotations

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.training.balance import answer_kind, name_answers, number_answers, repeats_by_answer, repeats_in_training


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


def test_the_weight_of_the_data_at_hand_multiplies_its_repeats() -> None:
    """A weight that replaced the balance would bury the rare kinds again."""
    rows = _rows(*["a"] * 4, "b")
    assert repeats_in_training(rows, TrainingConfig(current_weight=3)) == [3, 3, 3, 3, 12]
    assert repeats_in_training(rows, TrainingConfig(answer_balance=1)) == [1] * 5


def test_free_text_is_seen_once() -> None:
    """Free text has no classes to balance; weighting it by luck would distort it."""
    assert repeats_by_answer(_rows("a long answer that is a sentence", "another one, just as long"), 5) == [1, 1]
    assert repeats_by_answer([], 5) == []


def test_short_answers_that_hardly_recur_are_no_classes() -> None:
    """Sums whose result is 18 twice would make every other sum be seen twice as well; a rare class still is."""
    assert repeats_by_answer(_rows("18", "18", "3", "70", "540", "26"), 5) == [1] * 6
    assert repeats_by_answer(_rows("yes", "yes", "yes", "no"), 5) == [1, 1, 1, 3]
    mixed = _rows("18", "18", "3", "70", *['{"intent":"A"}'] * 2, '{"intent":"B"}')
    assert repeats_by_answer(mixed, 5) == [1, 1, 1, 1, 1, 1, 2]


def test_kinds_of_answer_are_numbered_alike_in_all_sets():
    """Breaks if the same function has two numbers, or if free text gets one."""
    one, two = number_answers(
        _rows("yes", '{"intent":"A"}'), _rows('{"intent":"A","x":1}', "no", "a long sentence of no kind")
    )
    assert one[1] == two[0]
    assert len({*one.tolist(), *two.tolist()}) == 4
    assert two[2] == -1
    assert min(one) >= 0


def test_a_long_answer_that_recurs_is_a_label():
    """Breaks if class labels above the length of a short answer are taken for free text, or free text for labels."""
    long = "the card payment was charged a fee"
    named = name_answers(_rows(*[long] * 5, "a long sentence of no kind"), _rows(f" {long.capitalize()} ", *[long] * 4))
    assert named == ([long] * 5 + [""], [long] * 5)
    assert name_answers(_rows(*[long] * 9)) == ([""] * 9,)
