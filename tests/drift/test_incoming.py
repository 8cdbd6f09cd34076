from __future__ import annotations

import numpy as np

from compass.drift.incoming import Incoming, Repeats, SessionNumbers, most_repeated


def batch(texts: list[str], sessions: list[str] | None = None) -> Incoming:
    return Incoming.of(np.zeros((len(texts), 2), dtype=np.float32), ["cy"] * len(texts), texts, None, sessions, None)


def left(repeats: Repeats, texts: list[str], sessions: list[str] | None = None) -> tuple[list[str], int]:
    kept, skipped = repeats.leave_out(batch(texts, sessions))
    return list(kept.texts or ()), sum(skip.n for skip in skipped)


def test_a_retry_in_one_session_counts_once():
    """Breaks if a client that sends a prompt again, in other spelling, weighs twice; or if two people who ask alike
    weigh once."""
    texts = ["Turn it on", "turn  it on", "Turn it on", "off"]
    assert left(Repeats(100, {}), texts, ["a", "a", "b", "a"]) == (["Turn it on", "Turn it on", "off"], 1)


def test_without_ids_a_prompt_counts_as_often_as_the_reference_can_explain():
    """Breaks if a bot fills the window, or if a prompt that is always frequent is cut."""
    bot = ["ping"] * 300
    kept, dropped = left(Repeats(500, {"cy": (1, 2000)}), bot)
    assert len(kept) + dropped == 300
    assert len(kept) < 10
    assert left(Repeats(500, {"cy": (600, 1000)}), bot) == (bot, 0)
    # Of a reference whose texts are not known nothing follows.
    assert left(Repeats(500, {}), bot) == (bot, 0)


def test_a_repeat_may_come_again_once_the_window_has_passed():
    """Breaks if texts are remembered for ever."""
    repeats = Repeats(3, {})
    assert left(repeats, ["x", "a", "b", "c", "x"], ["s"] * 5) == (["x", "a", "b", "c", "x"], 0)


def test_a_batch_that_could_not_be_written_comes_again():
    """Breaks if its prompts are taken for their own repeats, and never counted."""
    repeats = Repeats(100, {})
    assert left(repeats, ["x"], ["s"]) == (["x"], 0)
    repeats.forget()
    assert left(repeats, ["x"], ["s"]) == (["x"], 0)


def test_sessions_are_numbered_as_they_come():
    """Breaks if numbers depend on ids, which would have to be stored, or on how the stream is cut."""
    numbers = SessionNumbers()
    assert numbers.of(["b", "", "a", "b"]).tolist() == [0, -1, 1, 0]
    assert numbers.of(["c", "a"]).tolist() == [2, 1]


def test_the_most_frequent_prompt_is_counted_by_language():
    """Breaks if spellings are told apart or languages are mixed."""
    assert most_repeated(["A b", "a  B", "x", "a b"], ["cy", "cy", "cy", "de"]) == {"cy": 2, "de": 1}
