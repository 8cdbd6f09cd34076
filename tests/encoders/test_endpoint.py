"""The endpoint against a real server on this machine's loopback, with answers in the order that a test wants."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from stand_in import expected

from compass.encoders.endpoint import EndpointEncoder
from compass.endpoint import may_be_port, retry_after
from compass.errors import EncoderError

KEY = "sk-very-secret"
Answer = Callable[[list[str]], tuple[int, dict[str, str], bytes]]


def good(texts: list[str]) -> tuple[int, dict[str, str], bytes]:
    """A right answer, last text first, not normalised."""
    data = [{"index": i, "embedding": (2 * row).tolist()} for i, row in enumerate(expected(texts))]
    return 200, {}, json.dumps({"object": "list", "data": data[::-1]}).encode()


def status(code: int, body: bytes = b"no", **headers: str) -> Answer:
    return lambda texts: (code, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def data(*items: dict[str, Any]) -> Answer:
    return lambda texts: (200, {}, json.dumps({"data": items}).encode())


class Server:
    """Gives the answers in `script` one by one, then good ones; keeps what it was sent."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.always: Answer = good
        self.requests: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
                answer = outer.script.pop(0) if outer.script else outer.always
                code, headers, payload = answer(body["input"])
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(payload))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("COMPASS_API_KEY", KEY)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    thread = threading.Thread(target=running.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.http.shutdown()
    thread.join()
    running.http.server_close()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def encoder(server: Server, pauses: list[float]) -> Iterator[EndpointEncoder]:
    made = EndpointEncoder(server.url, model="m", batch_size=4, attempts=4, timeout=5, sleep=pauses.append)
    yield made
    made.close()


TEXTS = [f"text {i}" for i in range(10)]


def test_rows_come_in_order_and_normalised(server: Server, encoder: EndpointEncoder) -> None:
    """Breaks if the order of the answer is trusted instead of its indices, or batches are mixed up."""
    np.testing.assert_allclose(encoder.encode(TEXTS), expected(TEXTS), atol=1e-6)
    assert [len(request["input"]) for request in server.requests] == [4, 4, 2]
    assert {request["path"] for request in server.requests} == {"/v1/embeddings"}
    assert {request["model"] for request in server.requests} == {"m"}
    assert {request["key"] for request in server.requests} == {f"Bearer {KEY}"}
    assert encoder.encode([]).shape == (0, 8)


def test_no_key_no_header(server: Server, encoder: EndpointEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a server without keys (vLLM, llama.cpp) is sent an empty one."""
    monkeypatch.delenv("COMPASS_API_KEY")
    encoder.encode(["a"])
    assert server.requests[0]["key"] is None


def test_waits_as_long_as_the_server_asks(server: Server, encoder: EndpointEncoder, pauses: list[float]) -> None:
    """Breaks if 429 or 503 end the run, Retry-After is ignored, or pauses without it do not exist."""
    server.script = [status(429, Retry_After="7"), status(503), status(429, Retry_After="9999")]
    np.testing.assert_allclose(encoder.encode(["a"]), expected(["a"]), atol=1e-6)
    assert pauses[0] == 7.0
    assert 0.0 <= pauses[1] <= 60.0
    assert pauses[2] == 120.0
    assert len(server.requests) == 4


def test_gives_up_in_the_end(server: Server, encoder: EndpointEncoder) -> None:
    """Breaks if a dead server is asked for ever or its last word is lost."""
    server.always = status(500, b"out of memory")
    with pytest.raises(EncoderError, match=r"in 4 attempts; the last: HTTP 500 'out of memory'"):
        encoder.encode(["a"])
    assert len(server.requests) == 4


def test_nobody_listens(server: Server, pauses: list[float]) -> None:
    """Breaks if a refused connection is a traceback of httpx."""
    unused = EndpointEncoder("http://127.0.0.1:9/v1", model="m", attempts=2, timeout=2, sleep=pauses.append)
    with pytest.raises(EncoderError, match=r"127.0.0.1:9.*ConnectError"):
        unused.encode(["a"])
    unused.close()


def test_refused_key_is_clear_and_stays_secret(
    server: Server, encoder: EndpointEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if 401 is tried again, or the message does not say whether a key was sent, or says which."""
    server.always = status(401, f"Incorrect API key provided: {KEY}".encode())
    with pytest.raises(EncoderError, match="COMPASS_API_KEY is set but was refused") as caught:
        encoder.encode(["a"])
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1
    monkeypatch.delenv("COMPASS_API_KEY")
    with pytest.raises(EncoderError, match="COMPASS_API_KEY is not set"):
        encoder.encode(["a"])


@pytest.mark.parametrize("code", [404, 500, 200])
def test_key_never_shows(server: Server, encoder: EndpointEncoder, code: int, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if a server that repeats the key in its answer gets it into a message or a log line."""
    caplog.set_level(logging.DEBUG)
    server.always = status(code, f"your key {KEY} is odd".encode())
    with pytest.raises(EncoderError, match=r"your key \*\*\* is odd") as caught:
        encoder.encode(["a"])
    assert KEY not in str(caught.value) + repr(caught.value.__cause__) + caplog.text


def test_key_that_is_no_key(encoder: EndpointEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a key with a stray character is a traceback that quotes it."""
    monkeypatch.setenv("COMPASS_API_KEY", "schlüssel")
    with pytest.raises(EncoderError, match="not ASCII") as caught:
        encoder.encode(["a"])
    assert "schl" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_large_requests_are_halved(server: Server, encoder: EndpointEncoder) -> None:
    """Breaks if a server that takes fewer texts at once ends the run, or halves come back in the wrong order."""
    server.always = lambda texts: good(texts) if len(texts) <= 1 else (413, {}, b"too large")
    np.testing.assert_allclose(encoder.encode(TEXTS[:4]), expected(TEXTS[:4]), atol=1e-6)
    assert [len(request["input"]) for request in server.requests] == [4, 2, 1, 1, 2, 1, 1]
    server.always = status(400, b"context length exceeded")
    with pytest.raises(EncoderError, match=r"HTTP 400 to 1 texts, the longest of 3000 characters.*context length"):
        encoder.encode(["x" * 3000])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (status(200, b"<html>hello"), "did not answer in the form"),
        (status(200, b"[1]"), "did not answer in the form"),
        (data({"index": 0}), "did not answer in the form"),
        (data({"index": 0, "embedding": [1.0]}), "one vector for each of 2 texts; it returned 1"),
        (data({"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}), "one vector for each of 2"),
        (data({"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}), "of one length"),
        (data({"index": 0, "embedding": []}, {"index": 1, "embedding": []}), "zeros"),
    ],
)
def test_answers_that_are_wrong(server: Server, encoder: EndpointEncoder, answer: Answer, message: str) -> None:
    """Breaks if an answer that is no list of vectors, or lacks some, gets into the cache."""
    server.always = answer
    with pytest.raises(EncoderError, match=message):
        encoder.encode(["a", "b"])


def test_dimension_may_not_change(server: Server, encoder: EndpointEncoder) -> None:
    """Breaks if a server that swaps its model in mid-run goes unnoticed."""
    server.script = [good, data({"index": 0, "embedding": [1.0]})]
    encoder.encode(["a"])
    with pytest.raises(EncoderError, match=r"lengths \[1, 8\]"):
        encoder.encode(["b"])


def test_empty_texts_are_sent_as_a_space(server: Server, encoder: EndpointEncoder) -> None:
    """Breaks if an empty text, which the protocol forbids, fails a whole batch."""
    encoder.encode(["", "a\0b"])
    assert server.requests[0]["input"] == [" ", "a b"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("http://h:1", "http://h:1/v1/embeddings"),
        ("http://h:1/v1/", "http://h:1/v1/embeddings"),
        ("https://h/openai/v1/embeddings", "https://h/openai/v1/embeddings"),
    ],
)
def test_address_is_completed(given: str, sent: str) -> None:
    """Breaks if one of the ways in which people write the address leads elsewhere."""
    made = EndpointEncoder(given, model="m", revision="2026-01")
    assert made.url == sent
    assert made.name == f"{sent}#m"
    assert made.revision == "2026-01"
    made.close()


def test_secrets_in_the_address_and_missing_model_are_refused() -> None:
    """Breaks if a password gets into the cache's description by way of the name, or a model is guessed."""
    with pytest.raises(EncoderError, match="Leave them out") as caught:
        EndpointEncoder(f"https://user:{KEY}@host/v1", model="m")
    assert KEY not in str(caught.value)
    with pytest.raises(EncoderError, match="Set encoder_model"):
        EndpointEncoder("https://host/v1", model="")


def test_retry_after_is_seconds_or_a_date() -> None:
    """Breaks if one of the two forms of RFC 9110, 10.2.3 is misread."""
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after("1.5", now) == 1.5
    assert retry_after("Thu, 01 Jan 2026 12:00:30 GMT", now) == 30.0
    assert retry_after("Thu, 01 Jan 2026 11:00:00 GMT", now) == 0.0
    assert retry_after("", now) is None
    assert retry_after("soon", now) is None


@pytest.mark.parametrize("url", ["http://localhost:port/v1", "http://[::1/v1"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    """A mistyped port would end in httpx's traceback."""
    with pytest.raises(EncoderError, match="is not a URL"):
        EndpointEncoder(url, model="m")


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_port_that_there_is_not_is_refused_before_a_text_is_sent(port: int) -> None:
    """Breaks if a mistyped port is tried again and again, as a server that does not answer."""
    with pytest.raises(EncoderError, match=rf"has the port {port}; ports are from 1 to 65535"):
        EndpointEncoder(f"http://localhost:{port}/v1", model="m")


def test_the_ports_that_there_are() -> None:
    """Breaks if the first or the last port, or the one that goes without saying, is refused."""
    assert [number for number in (None, 0, 1, 65535, 65536) if may_be_port(number)] == [None, 1, 65535]
