"""Scores of answers, row by row."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from compass.data.calls import Call, parse_call, parse_response
from compass.evaluation.metrics import CALLS, SHORT, TEXT, ratios, response_shape, score_rows

TIMER = '{"intent":"StartTimer","minutes":5}'


def metric(name: str, responses: list[str], predictions: list[str], seen: tuple[str, ...] = ()) -> float:
    """Value of one metric: the ratio of the sums, as evaluation takes it."""
    n = len(responses)
    top, bottom = ratios(score_rows(responses, predictions, seen), np.ones(n), np.ones(n))[name]
    return float(top.sum() / bottom.sum())


@pytest.mark.parametrize(
    "answer",
    [
        TIMER,
        '{ "minutes": 5.0, "intent": "StartTimer" }',
        TIMER + TIMER,
        TIMER + "\nIs there anything else? }",
        "Sure: " + TIMER,
        "a {b} " + TIMER,
        "```json\n" + TIMER + "\n```",
        '{"intent":"StartTimer","minutes":5e0}',
    ],
)
def test_the_first_object_is_the_call(answer: str) -> None:
    """Right calls would count as wrong for their spacing, key order, number format or what stands around them."""
    assert parse_call(answer) == parse_call(TIMER) == Call("StartTimer", frozenset({("minutes", "5")}))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "StartTimer",
        "{",
        '{"intent":"StartTimer","minutes":5',
        '{"intent":5}',
        "{}",
        "[1]",
        '{"minutes":5}',
        '{"intent":"A","x":NaN}',
        '{"intent":"A","x":' + "9" * 5000 + "}",
        '{"intent":"A","x":' + "[" * 50000 + "]" * 50000 + "}",
        "{" * 100_000,
        "\x00\ud800",
    ],
)
def test_what_is_no_call_is_none(answer: str) -> None:
    """An odd answer of a model would stop an evaluation, or be taken for a call."""
    assert parse_call(answer) is None


@settings(deadline=None)
@given(st.text(max_size=40) | st.text(alphabet='{}[]":,\\ein0.5', max_size=40).map(lambda t: '{"intent":"A"' + t))
def test_parsing_never_raises(answer: str) -> None:
    """An answer that no test foresaw would stop an evaluation after minutes of decoding."""
    parse_call(answer)
    parse_response(answer)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("5", "5.0", True),
        ("5", '"5"', False),
        ("1", "true", False),
        ("0", "-0.0", True),
        ("0.1", "0.10", True),
        ('"caf\\u00e9"', '"cafe\\u0301"', True),
        ('"a"', '"A"', False),
        ("[1,2]", "[1.0,2]", True),
        ("[1,2]", "[2,1]", False),
        ('{"a":1,"b":2}', '{"b":2,"a":1}', True),
        ("null", '""', False),
    ],
)
def test_slot_values(left: str, right: str, equal: bool) -> None:
    """Values that JSON writes in two ways would differ, or values of two types would be the same."""
    a = parse_call('{"intent":"A","x":' + left + "}")
    b = parse_call('{"intent":"A","x":' + right + "}")
    assert a is not None
    assert (a == b) is equal


def test_a_response_is_a_call_only_as_a_whole() -> None:
    """A prose response that quotes a call would be scored by that quotation alone."""
    assert parse_response(f" {TIMER}\n") is not None
    assert parse_response(f"Say {TIMER}") is None
    assert parse_response(f"{TIMER} {TIMER}") is None
    assert metric("exact_match", [f"Say {TIMER}"], [TIMER]) == 0.0


def test_plain_text_is_compared_stripped_and_in_nfc() -> None:
    """Plain answers would be right or wrong by their Unicode form, or be forgiven for trailing text."""
    responses = ["café", "Paris", "Paris", "Paris"]
    predictions = [" cafe\u0301\n", "Paris", "Paris.", "paris"]
    scores = score_rows(responses, predictions)
    assert scores.exact.tolist() == [True, True, False, False]
    assert not scores.is_call.any()


def test_slot_f1_against_scikit_learn() -> None:
    """Slot F1 would not be the micro F1 over (key, value) pairs, intents agreeing or not."""
    rng = np.random.default_rng(0)
    keys, values = ["a", "b", "c"], [0, 1]
    pairs = [(k, v) for k in keys for v in values]

    def draw() -> dict[str, object]:
        slots = {k: int(rng.integers(2)) for k in keys if rng.random() < 0.6}
        return {"intent": str(rng.choice(["A", "B"]))} | slots

    gold, answers = [draw() for _ in range(60)], [draw() for _ in range(60)]
    table = [[[row.get(k) == v for k, v in pairs] for row in rows] for rows in (gold, answers)]
    expected = f1_score(np.array(table[0]), np.array(table[1]), average="micro")
    got = metric("slot_f1", [json.dumps(row) for row in gold], [json.dumps(row) for row in answers])
    assert got == pytest.approx(expected)


def test_counts_by_hand() -> None:
    """One of the five metrics would count the wrong rows."""
    responses = [TIMER, '{"intent":"TurnOn","area":"hall"}', '{"intent":"TurnOff"}', "hello"]
    predictions = ['{"minutes":5,"intent":"StartTimer"}', '{"intent":"TurnOff","area":"hall"}', "no", "hello"]
    assert metric("exact_match", responses, predictions) == 2 / 4
    assert metric("intent_accuracy", responses, predictions) == 1 / 3
    assert metric("slot_f1", responses, predictions) == 1.0
    assert metric("seen_label_share", responses, predictions, ("TurnOff", "TurnOn")) == 1 / 3


def test_slots_missed_by_an_answer_without_a_call_count() -> None:
    """A model that answers no call at all would not lose slot F1 for it."""
    assert metric("slot_f1", [TIMER, TIMER], [TIMER, "?"]) == pytest.approx(2 * 1 / (1 + 2))


def test_loss_per_byte_is_a_ratio_of_sums() -> None:
    """Short responses would weigh as much as long ones."""
    scores = score_rows(["a", "b"], ["a", "b"])
    top, bottom = ratios(scores, np.array([1.0, 9.0]), np.array([1.0, 3.0]))["loss_per_byte"]
    assert top.sum() / bottom.sum() == 2.5


def test_lengths_must_agree() -> None:
    """Answers would be scored against the responses of other rows."""
    with pytest.raises(ValueError, match="got 2 and 1"):
        score_rows(["a", "b"], ["a"])


COMMANDS = [f"tar xf path/to/file_{i}.tar" for i in range(9)]


@pytest.mark.parametrize(
    ("responses", "wanted"),
    [
        ([TIMER] * 9, CALLS),
        (["Paris", "18", "B"], SHORT),
        (["science and technology news"] * 12, SHORT),  # a long label, which recurs
        (COMMANDS, TEXT),
        ([*COMMANDS, *["ls"] * 8], TEXT),
        ([*COMMANDS, *["ls"] * 9], SHORT),
        ([*COMMANDS, *[TIMER] * 9], SHORT),
        ([*COMMANDS, *[TIMER] * 10], CALLS),
        (["我想把所有文件都复制到这里", "请给我看看今天的天气预报"], TEXT),  # short to look at, long to say
        (["科学和技术", "体育"], SHORT),
    ],
)
def test_the_shape_of_responses(responses: list[str], wanted: str) -> None:
    """Free text would be measured by exact match, at 2 % for all, or classes by how alike their names look."""
    assert response_shape(responses) == wanted


def test_likeness_is_measured_where_a_test_is_of_free_text() -> None:
    """Calls in such a test have their own scores, and class labels are right or wrong."""
    scores = score_rows([*COMMANDS, TIMER], [*COMMANDS[:3], *["tar xf"] * 6, TIMER])
    found = ratios(scores, np.ones(10), np.ones(10))
    assert list(found)[:5] == ["loss_per_byte", "chrf", "token_f1", "rouge_l", "exact_match"]
    for name in ("chrf", "token_f1", "rouge_l"):
        top, bottom = found[name]
        assert bottom.tolist() == [1.0] * 9 + [0.0]
        assert top[:3].tolist() == [1.0] * 3
        assert all(0 < value < 1 for value in top[3:9])
        assert top[9] == 0.0
    labels = ratios(score_rows(["sport", "science"], ["sport", "sports"]), np.ones(2), np.ones(2))
    assert next(iter(labels)) == "exact_match"
    assert not {"chrf", "token_f1", "rouge_l"} & labels.keys()
