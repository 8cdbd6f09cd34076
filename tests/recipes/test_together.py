"""The events of several processes in one stream, and what becomes of it when one of them ends badly."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from unittest.mock import Mock

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


ENDING = """
import signal, sys, time
def ended(*_):
    print('{"event": "status", "summary": "at its end"}', flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, ended)
print('{"event": "drift", "summary": "12 prompts"}', flush=True)
time.sleep(600)
"""


def run(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a script stand in for the command of a language."""

    class Popen(together.subprocess.Popen):  # type: ignore[type-arg, name-defined, misc]
        def __init__(self, command: list[str], **more: object) -> None:
            super().__init__([sys.executable, "-S", "-c", script, *command[1:]], **more)

    monkeypatch.setattr(together.subprocess, "Popen", Popen)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_what_processes_tell_as_they_are_stopped_comes(
    number: signal.Signals, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the status of a stopped project is told to nobody, though that of one language is."""
    run(ENDING, monkeypatch)
    monkeypatch.setattr(together, "SECONDS_TO_HEAR", 0.1)
    told: list[str] = []
    codes: dict[str, int] = {}

    def listen() -> None:
        for event in together.in_one_stream({"cy": [], "el": []}, codes):
            told.append(event.summary)
            if len(told) == 2:
                threading.Timer(0.2, os.kill, (os.getpid(), number)).start()

    with pytest.raises(raised):
        listen()
    assert sorted(told) == ["cy: 12 prompts", "cy: at its end", "el: 12 prompts", "el: at its end"]
    assert codes == {"cy": 143, "el": 143}


def test_a_language_that_was_not_begun_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if Ctrl-C while processes are begun takes half a minute, in which no process is left."""
    run(SCRIPT, monkeypatch)
    begin = Mock(side_effect=[together.subprocess.Popen, KeyboardInterrupt])  # type: ignore[attr-defined]

    def popen(*given: object, **more: object) -> object:
        return begin()(*given, **more)

    monkeypatch.setattr(together.subprocess, "Popen", popen)  # type: ignore[attr-defined]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(together.in_one_stream({"cy": [], "el": [], "de": []}, {}))
    assert time.monotonic() - began < together.SECONDS_TO_HEAR + 10


def test_a_killed_process_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that the kill cut is passed over, and who was killed is said, since it could not say so itself."""

    run(SCRIPT, monkeypatch)
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
