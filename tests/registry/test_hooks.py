"""Hooks against a real server and real commands: what arrives, what is tried again, what never leaks."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from compass.config import HookConfig
from compass.errors import ConfigError
from compass.registry import Hooks, RegistryEvent, verify_signature
from processes import is_alive, wait_for

SECRET = "tr3-cyfrinach"
EVENT = RegistryEvent("drift", "cy", "Usage drifted: ś\u2028", "v0001-000000000000", {"p": 0.01})


class Receiver(ThreadingHTTPServer):
    """Answers with the statuses in `answers`, then with 204; keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.delay = 0.0
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/T0KEN-in-path"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.server.closing.wait(self.server.delay)
        status, headers = self.server.answers.pop(0) if self.server.answers else (204, {})
        try:
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def waits() -> list[float]:
    return []


def hooks(waits: list[float], *, command_timeout: float = 60.0, webhook_timeout: float = 10.0, **options: Any) -> Hooks:
    return Hooks(
        HookConfig(**options), sleep=waits.append, command_timeout=command_timeout, webhook_timeout=webhook_timeout
    )


def test_a_signed_event_arrives(receiver: Receiver, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver could not tell our events from anybody's, or get another content than was signed."""
    monkeypatch.setenv("COMPASS_WEBHOOK_SECRET", SECRET)
    (delivery,) = hooks(waits, webhook_url=receiver.url).send(EVENT)
    assert (delivery.hook, delivery.ok, delivery.attempts, delivery.problem) == ("webhook", True, 1, "")
    path, headers, body = receiver.got[0]
    assert path == "/services/T0KEN-in-path"
    assert RegistryEvent.from_dict(json.loads(body)) == EVENT
    assert (headers["x-compass-event"], headers["x-compass-delivery"]) == ("drift", EVENT.id)
    stamp, given = headers["x-compass-timestamp"], headers["x-compass-signature"]
    assert verify_signature(SECRET, stamp, body, given)
    assert not verify_signature(SECRET, stamp, body + b" ", given)
    assert not verify_signature("another", stamp, body, given)
    assert not verify_signature(SECRET, str(int(stamp) + 1), body, given)
    assert not verify_signature(SECRET, stamp, body, given, now=float(stamp) + 301)
    assert not verify_signature(SECRET, "soon", body, given)


def test_signature_against_openssl() -> None:
    """Receivers in other languages would compute another value."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    command = ["openssl", "dgst", "-sha256", "-hmac", "key"]
    done = subprocess.run(command, input=b"17.{}", capture_output=True, check=True)
    assert verify_signature("key", "17", b"{}", "sha256=" + done.stdout.decode().split()[-1], now=17.0)


def test_what_may_pass_is_tried_again(receiver: Receiver, waits: list[float]) -> None:
    """A receiver that restarts would miss the event, or be hammered instead of waited for."""
    receiver.answers = [(503, {}), (429, {"Retry-After": "7"}), (500, {"Retry-After": "9999"})]
    (delivery,) = hooks(waits, webhook_url=receiver.url).send(EVENT)
    assert (delivery.ok, delivery.attempts) == (True, 4)
    assert waits[1:] == [7.0, 30.0]
    assert 0 <= waits[0] <= 30
    assert len({headers["x-compass-delivery"] for _, headers, _ in receiver.got}) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_what_will_not_pass_is_not(receiver: Receiver, waits: list[float], status: int) -> None:
    """A refused event would be sent five times; one that is redirected would go, signed, to somebody else."""
    receiver.answers = [(status, {"Location": receiver.url + "/elsewhere"})]
    (delivery,) = hooks(waits, webhook_url=receiver.url).send(EVENT)
    assert not delivery.ok
    assert f"HTTP {status}" in delivery.problem
    assert len(receiver.got) == 1
    assert waits == []


def test_nobody_at_home(receiver: Receiver, waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """A webhook that is down would end the loop."""
    url = receiver.url
    receiver.server_close()
    (delivery,) = hooks(waits, webhook_url=url).send(EVENT)
    assert (delivery.ok, delivery.attempts) == (False, 5)
    assert "ConnectError" in delivery.problem
    assert "The webhook failed for the event drift" in caplog.text
    assert len(waits) == 4


def test_slow_receivers_are_left(receiver: Receiver, waits: list[float]) -> None:
    receiver.delay = 3.0
    (delivery,) = hooks(waits, webhook_url=receiver.url, webhook_timeout=0.1).send(EVENT)
    assert not delivery.ok
    assert delivery.problem == "it did not answer within 0.1 s"
    assert delivery.seconds < 3.0


def test_a_receiver_that_drips_is_left(waits: list[float]) -> None:
    """One byte at a time meets every limit for a single read, and held the loop for as long as it liked."""
    closing = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            while not closing.is_set():
                with suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"HTTP/1.1 204 No Content\r\nX-Slow: ")
                        while not closing.wait(0.05):
                            connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/T0KEN"
        (delivery,) = hooks(waits, webhook_url=url, webhook_timeout=0.2).send(EVENT)
        closing.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert (delivery.ok, delivery.attempts) == (False, 5)
    assert delivery.problem == "it did not answer within 0.2 s"
    assert delivery.seconds < 3.0


def test_neither_secret_nor_address_shows(
    receiver: Receiver, waits: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The token in a webhook's path, or the secret, would be in everybody's logs: httpx logs addresses at INFO."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("COMPASS_WEBHOOK_SECRET", SECRET)
    receiver.answers = [(500, {}), (404, {})]
    deliveries = hooks(waits, webhook_url=receiver.url).send(EVENT)
    monkeypatch.setenv("COMPASS_WEBHOOK_SECRET", SECRET + "\udcff")
    deliveries += hooks(waits, webhook_url=receiver.url).send(EVENT)
    assert [delivery.ok for delivery in deliveries] == [False, True]
    told = caplog.text + repr(deliveries)
    assert "the webhook" in caplog.text
    assert SECRET not in told
    assert "T0KEN" not in told
    with pytest.raises(ConfigError) as caught:
        Hooks(HookConfig(webhook_url="hooks.example/T0KEN"))
    assert "T0KEN" not in str(caught.value)


def test_the_command_gets_the_event(tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command would have to parse quoted arguments, or texts of an event would reach the shell."""
    monkeypatch.setenv("COMPASS_WEBHOOK_SECRET", SECRET)
    event = RegistryEvent("promotion", "cy", "$(touch hacked); `touch hacked`", details={"big": "x" * 200_000})
    command = f"cat > {tmp_path}/event.json; env > {tmp_path}/env"
    (delivery,) = hooks(waits, hook_command=command).send(event)
    assert delivery.ok
    assert RegistryEvent.from_dict(json.loads((tmp_path / "event.json").read_text("utf-8"))) == event
    environment = (tmp_path / "env").read_text("utf-8")
    assert "COMPASS_EVENT=promotion" in environment
    assert SECRET not in environment
    assert not Path("hacked").exists()


def test_a_command_that_reads_nothing_is_no_failure(waits: list[float]) -> None:
    event = RegistryEvent("update", "cy", "", details={"big": "x" * 500_000})
    assert hooks(waits, hook_command="true").send(event)[0].ok


def test_a_failing_command_is_told(waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    (delivery,) = hooks(waits, hook_command="echo no such channel >&2; exit 3").send(EVENT)
    assert delivery.problem == "it exited with status 3 and wrote 'no such channel'"
    assert delivery.problem in caplog.text
    assert "status 127" in hooks(waits, hook_command="/no/such/command").send(EVENT)[0].problem


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path, waits: list[float]) -> None:
    """A hanging hook would stop the loop, and its children would pile up."""
    command = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    start = time.monotonic()
    (delivery,) = hooks(waits, hook_command=command, command_timeout=1.0).send(EVENT)
    assert time.monotonic() - start < 20
    assert "ran longer than 1 s" in delivery.problem
    child = int((tmp_path / "child").read_text("ascii"))
    # Long before it would end of itself.
    wait_for(lambda: not is_alive(child), seconds=5)


def test_one_failing_hook_leaves_the_other(receiver: Receiver, waits: list[float]) -> None:
    receiver.answers = [(404, {})]
    assert [d.ok for d in hooks(waits, webhook_url=receiver.url, hook_command="true").send(EVENT)] == [False, True]


def test_what_cannot_be_said_stops_nothing(receiver: Receiver, waits: list[float]) -> None:
    """An event that is not JSON would end the loop."""
    event = RegistryEvent("drift", "cy", "", details={"p": float("nan"), "x": object()})
    deliveries = hooks(waits, webhook_url=receiver.url, hook_command="true").send(event)
    assert [delivery.ok for delivery in deliveries] == [False, False]
    assert receiver.got == []


def test_only_the_events_that_were_asked_for(receiver: Receiver, waits: list[float]) -> None:
    chosen = hooks(waits, webhook_url=receiver.url, hook_events=("promotion",))
    assert chosen.send(EVENT) == ()
    assert hooks(waits).send(EVENT) == ()
    assert receiver.got == []
    with pytest.raises(ConfigError, match="must be among drift, update, canary, promotion, refusal; got dirft"):
        Hooks(HookConfig(hook_events=("dirft",)))
