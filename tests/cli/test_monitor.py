"""What `compass monitor --skipped` prints; the monitor itself is tested in tests/recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import Compass
from compass.drift import MonitorState, Skipped
from compass.records import Event


def test_what_was_skipped_is_listed(compass: Compass, tmp_path: Path) -> None:
    """Breaks if the reasons can't be had without reading prompts, or the list makes a state where none was."""
    code, out, err = compass("monitor", str(tmp_path), "--skipped")
    assert (code, out, "was not monitored yet" in err) == (1, "", True)
    assert not list(tmp_path.iterdir())
    state = MonitorState(f"sqlite:///{tmp_path}/monitor/state.db", "monitor")
    state.begin("reference", {}, restart=False)
    code, out, _ = compass("monitor", str(tmp_path), "--skipped")
    assert (code, out) == (0, "Nothing was skipped.\n")
    skipped = [Skipped("broken JSON", 3, "a.jsonl from byte 0, line 7"), Skipped("[/b] an empty prompt", 4, "b")]
    state.write(
        prompts=1, streams={}, checks=[], events=[], kept=[], reservoir_size=1, oldest=0.0, at=1_800_000_000.0,
        batch=None, position=None, skipped=skipped,
    )  # fmt: skip
    state.close()
    code, out, _ = compass("monitor", str(tmp_path), "--skipped")
    assert code == 0
    assert "an empty prompt" in out.split("broken JSON")[0]
    assert "a.jsonl from byte 0, line 7" in out
    assert "2027-01-15 08:00 UTC" in out
    code, out, _ = compass("monitor", str(tmp_path), "--skipped", "--json")
    assert json.loads(out)[1] == {
        "reason": "broken JSON", "n": 3, "first": "a.jsonl from byte 0, line 7", "at": 1_800_000_000.0
    }  # fmt: skip


def test_what_a_loop_skipped_is_listed(compass: Compass, tmp_path: Path) -> None:
    """Breaks if the counts of a loop can be had from its status page alone."""
    home = ("--watch-dir", str(tmp_path))
    code, _, err = compass("watch", "cy", "--skipped", *home)
    assert (code, "No loop has watched cy in" in err) == (1, True)
    assert not list(tmp_path.iterdir())
    (tmp_path / "cy").mkdir()
    state = MonitorState(f"sqlite:///{tmp_path}/cy/monitor.db", "watch-cy")
    state.begin("reference", {}, restart=False)
    state.write(
        prompts=1, streams={}, checks=[], events=[], kept=[], reservoir_size=1, oldest=0.0, at=1_800_000_000.0,
        batch=None, position=None, skipped=[Skipped("broken JSON", 3, "a.jsonl, line 7")],
    )  # fmt: skip
    state.close()
    code, out, _ = compass("watch", "CYM", "--skipped", *home)
    assert (code, "broken JSON" in out, "a.jsonl, line 7" in out) == (0, True, True)
    code, out, _ = compass("watch", "cy", "--skipped", "--json", *home)
    assert [row["n"] for row in json.loads(out)] == [3]
    code, _, err = compass("watch", "cy", "-", "--skipped", *home)
    assert (code, "leave SOURCE out" in err) == (2, True)
    code, _, err = compass("watch", "cy", *home)
    assert (code, "SOURCE is missing" in err) == (2, True)


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        ({"drift": False, "new_prompts": 0, "skipped_lines": 51}, 2, True),
        ({"drift": True, "new_prompts": 0, "skipped_lines": 51}, 3, True),
        ({"drift": False, "new_prompts": 2, "skipped_lines": 51}, 0, False),
        ({"drift": False, "new_prompts": 0, "skipped_lines": 0}, 0, False),
    ],
)
@pytest.mark.parametrize("command", ["monitor", "watch"])
def test_input_of_which_nothing_is_usable_fails(
    compass: Compass, monkeypatch: pytest.MonkeyPatch, command: str, status: dict[str, Any], code: int, told: bool
) -> None:
    """Breaks if a table in place of JSON Lines looks like a day without drift, for one command or for both."""
    monkeypatch.setattr(
        f"compass.recipes.{command}.{command}", lambda *_, **__: iter([Event("status", "", details=status)])
    )
    found, _, err = compass(command, "cy", "logs.csv")
    assert found == code
    assert ("none of its 51 new lines could be used" in err) == told


def test_the_list_of_a_project_needs_a_language(compass: Compass, tmp_path: Path) -> None:
    """Breaks if the advice is to do what was done."""
    file = tmp_path / "compass.yaml"
    file.write_text("languages: [cy, el]\n", "utf-8")
    code, _, err = compass("watch", "--config", str(file), "--skipped")
    assert (code, "LANGUAGE is missing" in err, "name it (cy, el)" in err) == (2, True, True)
    assert "leave it out" not in err
    code, _, err = compass("watch", "--skipped")
    assert (code, "passed over; name it" in err, "leave it out" in err) == (2, True, False)
    code, _, err = compass("watch")
    assert (code, "leave it out with the --config of a project" in err) == (2, True)


def test_a_source_is_needed_to_count_and_not_to_list(compass: Compass, tmp_path: Path) -> None:
    """Breaks if a forgotten source counts nothing and looks well."""
    code, _, err = compass("monitor", str(tmp_path))
    assert (code, "SOURCE is missing" in err) == (2, True)
    code, _, err = compass("monitor", str(tmp_path), "-", "--skipped")
    assert (code, "leave SOURCE out" in err) == (2, True)
    code, _, err = compass("monitor", str(tmp_path / "none"), "--skipped")
    assert (code, "no such folder" in err) == (1, True)
