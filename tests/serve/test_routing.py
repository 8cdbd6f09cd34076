"""Who answers: pure decisions, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from compass.serve.language import language_of, language_of_turns
from compass.serve.over_http import OURS, end_to_end
from compass.serve.reconcile import Desired, live_version, steps, wanted
from compass.serve.routing import Table, asked_of, drawn, route


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Beth mae'r cod hwn yn ei wneud?\n```python\nfor i in range(3): print(i)\n```", "cy"),
        ("Ποιος είναι ο Kylian Mbappé και πού παίζει με τη Real Madrid;", "el"),
        ("Pwy yw John Smith o London?", "cy"),
        ("नमस्ते, please मेरी मदद करो with Excel spreadsheet formulas", "hi"),
        ("Python で CSV file を read する方法を教えてください", "ja"),
        ("Διόρθωσε αυτό: for i in range(10): print(i)", "el"),
        ("ارجو شرح machine learning model training", "und"),
        ("def f(x):\n    return x+1", "und"),
        ("https://example.com/x", "und"),
        ("ok", "und"),
        ("12345", "und"),
        ("", "und"),
    ],
)
def test_code_names_and_scripts_do_not_decide(text: str, language: str) -> None:
    """A Welsh question about code would be answered in English, a Hindi one with terms in Latin letters too."""
    assert language_of(text) == language


def test_an_unclear_turn_leaves_the_language() -> None:
    """A conversation would change its adapter at every "ok"."""
    assert language_of_turns(["Trowch y golau ymlaen yn y gegin", "ok", "42"]) == "cy"


TABLE = Table({"cy": 3, "zh-CN": 1}, ("base",), {"cy": 4}, {"cy": frozenset({2, 3, 4})}, share=0.2)


def test_a_region_or_another_spelling_finds_its_language() -> None:
    """`cym` or `zh` would be unknown."""
    assert route(asked_of({"model": "cym"}, {"x-compass-conversation": "0"}), TABLE).adapter in ("cy@3", "cy@4")
    assert route(asked_of({"model": "zh-Hans"}, {}), TABLE).adapter == "zh-CN@1"
    assert route(asked_of({"model": "auto"}, {"x-compass-language": "zh"}), TABLE).adapter == "zh-CN@1"
    assert route(asked_of({"model": "auto"}, {"x-compass-language": "zh-TW"}), TABLE).adapter == ""


def test_a_candidate_gets_its_share_and_keeps_it() -> None:
    """A conversation would change its version from turn to turn, or a larger share move those who had the candidate."""
    names = [str(i) for i in range(5000)]
    small, large = ({n for n in names if drawn(n, "cy@4", share)} for share in (0.05, 0.2))
    assert small < large
    assert 0.04 < len(small) / 5000 < 0.06
    assert 0.18 < len(large) / 5000 < 0.22
    assert small != {n for n in names if drawn(n, "cy@5", 0.05)}
    assert not any(drawn(n, "cy@4", 0.0) for n in names)
    assert all(drawn(n, "cy@4", 1.0) for n in names)


def test_a_tool_call_is_no_new_prompt() -> None:
    """One prompt would be counted again with each tool that its answer calls."""
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": []}, {"role": "tool"}]
    assert asked_of({"messages": messages[:1]}, {}).ends_with_user
    assert not asked_of({"messages": messages}, {}).ends_with_user


@pytest.mark.parametrize(
    "messages", [None, 3, [], [3], [{"role": "user"}], [{"role": "user", "content": [{"type": "image_url"}, 3]}]]
)
def test_odd_messages_are_the_model_servers_business(messages: object) -> None:
    """The gateway would refuse, or fail on, what a model server may take."""
    assert route(asked_of({"messages": messages}, {}), TABLE).adapter == ""


def desired(production: int, previous: int = 0, candidate: int = 0, *, rolled_back: bool = False) -> Desired:
    folders = {n: Path(f"/r/cy/{n}") for n in (production, previous, candidate) if n}
    return Desired("cy", production, candidate, previous, rolled_back, folders)


@pytest.mark.parametrize(
    ("now", "wants", "backends", "live"),
    [
        (1, desired(2, 1), [{"cy@1", "cy@2"}, {"cy@1"}], 1),  # a promotion waits for the last replica
        (1, desired(2, 1), [{"cy@1", "cy@2"}, {"cy@2"}], 2),
        (1, desired(2, 1), [], 1),  # nothing answers: nothing changes
        (1, desired(2, 1), [{"cy@2"}, set()], 2),  # the old one is nowhere any more
        (2, desired(1, rolled_back=True), [{"cy@1", "cy@2"}, {"cy@2"}], 1),  # a rollback waits for none
        (2, desired(1, rolled_back=True), [{"cy@2"}], 2),  # but for the first
        (0, desired(2, 1), [{"cy@1"}, {"cy@1", "cy@2"}], 1),  # a gateway that restarts within a promotion
        (0, desired(2, 1), [set()], 2),  # nothing loaded yet
        (3, desired(0), [{"cy@3"}], 0),
    ],
)
def test_what_a_tag_stands_for(now: int, wants: Desired, backends: list[set[str]], live: int) -> None:
    """Replicas would answer with two versions, or a rollback wait for one that hangs."""
    assert live_version(now, wants, backends) == live


def test_only_what_nothing_uses_is_unloaded() -> None:
    """A running answer, an adapter of another's, or the version that a tag stands for still, would be cut off."""
    want = wanted([desired(3, 2, 4)], candidates=True, live={"cy": 1})
    assert list(want) == ["cy@3", "cy@2", "cy@4"]
    loaded = dict.fromkeys(["cy@2", "cy@0", "cy@9", "de@1", "mine"], "")
    found = steps(want, loaded, busy={"cy@9"}, languages={"cy"})
    assert list(found.load) == ["cy@3", "cy@4"]
    assert found.unload == ("cy@0",)
    assert list(wanted([desired(3, 2, 4)], candidates=False, live={})) == ["cy@3", "cy@2"]


def test_a_name_that_stands_for_another_folder_is_loaded_anew() -> None:
    """After a registry was made anew, `cy@3` would be what it was in the old one."""
    want = {"cy@3": Path("/r/cy/3")}
    found = steps(want, {"cy@3": "/old/cy/3"}, busy=(), languages={"cy"})
    assert (found.load, found.unload) == ({}, ("cy@3",))
    assert not steps(want, {"cy@3": "/r/cy/3"}, busy=(), languages={"cy"})
    assert not steps(want, {"cy@3": ""}, busy=(), languages={"cy"})


def test_headers_of_one_connection_stay_there() -> None:
    """A key, a cookie or `connection: close` would reach the model server."""
    given = [(b"Connection", b"X-A, keep-alive"), (b"X-A", b"1"), (b"X-B", b"2"), (b"Cookie", b"c"), (b"TE", b"gzip")]
    assert end_to_end([*given, (b"Authorization", b"k")], OURS) == (("x-b", "2"),)
