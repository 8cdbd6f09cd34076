"""Signals that are answered otherwise for a while."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import psutil
import pytest

from compass.signals import PARENT, ended, handled, name_of


def test_a_signal_is_ignored_for_a_while() -> None:
    """A second Ctrl-C would abort the process while the first one's is still cleaning up, or be ignored for good."""
    # A job that was started in the background may ignore it from the beginning.
    with handled(signal.SIGINT, signal.default_int_handler):
        before = signal.getsignal(signal.SIGINT)
        with handled(signal.SIGINT, signal.SIG_IGN):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_termination_cleans_up() -> None:
    """The default ends a process where it stands; blocks after it would never run."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, handled(signal.SIGTERM, ended):
        signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_changes_nothing() -> None:
    """Python refuses handlers outside the main thread: a service's worker would fail."""
    seen = []

    def work() -> None:
        with handled(signal.SIGTERM, ended):
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


PARENT_PROCESS = f"""
import os, subprocess, sys
child = "import compass.signals, time; compass.signals.end_with_parent(); print('ready', flush=True); time.sleep(60)"
environment = {{**os.environ, {PARENT!r}: str(os.getpid())}}
process = subprocess.Popen([sys.executable, "-c", child], env=environment, stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
process.wait()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process keeps the number of its parent there")
def test_a_process_ends_with_one_that_is_killed_at_once() -> None:
    """The cells of a killed comparison would go on, and hold their run folders against the same command."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT_PROCESS], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    child.wait(timeout=30)


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    """Breaks if a process that was ended by a real-time signal ends the one that tells of it."""
    assert name_of(signal.SIGKILL) == "SIGKILL"
    assert name_of(signal.SIGRTMIN + 6) == f"signal {signal.SIGRTMIN + 6}"
