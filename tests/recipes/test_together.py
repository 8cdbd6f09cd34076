"""The events of several processes in one stream, and what becomes of it when one of them ends badly."""

from __future__ import annotations

import logging
import sys

import pytest

from compass.recipes import together

SCRIPT = """
import os, signal, sys
name = sys.argv[3]
print('{"event": "status", "summary": "12 prompts", "drift": false}', flush=True)
print("compass: a reason", file=sys.stderr, flush=True)
if name == "killed":
    sys.stdout.write('{"event": "sta')
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(3 if name == "drift" else 0)
"""


def test_a_killed_process_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that the kill cut is passed over, and who was killed is said, since it could not say so itself."""

    class Popen(together.subprocess.Popen):  # type: ignore[type-arg, name-defined, misc]
        def __init__(self, command: list[str], **more: object) -> None:
            super().__init__([sys.executable, "-S", "-c", SCRIPT, *command[1:]], **more)

    monkeypatch.setattr(together.subprocess, "Popen", Popen)  # type: ignore[attr-defined]
    monkeypatch.setattr(logging.getLogger("compass"), "propagate", True)
    codes: dict[str, int] = {}
    events = list(together.in_one_stream({"cy": ["killed"], "el": ["drift"], "de": ["well"]}, codes))
    assert sorted(event.summary for event in events) == ["cy: 12 prompts", "de: 12 prompts", "el: 12 prompts"]
    assert {event.details["language"] for event in events} == {"cy", "de", "el"}
    assert codes == {"cy": -9, "el": 3, "de": 0}
    # Whose error it is can be seen.
    assert sorted(capsys.readouterr().err.splitlines()) == [f"{tag}: compass: a reason" for tag in ("cy", "de", "el")]
    assert "cy is no longer watched: its process was killed (SIGKILL)" in caplog.text
    assert "cy: 1 lines of output that are no event were passed over" in caplog.text
