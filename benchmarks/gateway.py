"""What the gateway adds to a request, and how many it takes a second, before a backend that answers at once. JSON.

    python benchmarks/gateway.py --requests 5000 --rate 500

Three processes: a bare backend, `compass serve`, and this one, which sends over kept connections, first to the backend
itself, then through the gateway: at a fixed rate for the latency, and as fast as answers come for the throughput. Load
and backend share the cores with the gateway, so they do next to nothing, and their processor time is told as well. On a
machine that is busy otherwise, go by the processor time of the gateway per request.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import psutil
import uvloop

PROMPT = "Trowch y golau ymlaen yn y gegin, a gosodwch larwm am saith o'r gloch bore yfory os gwelwch yn dda 000000."
ANSWER = {
    "id": "chatcmpl-0123456789abcdef",
    "object": "chat.completion",
    "model": "cy@1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Iawn. " * 40}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 30, "completion_tokens": 80, "total_tokens": 110},
}


class Wire(asyncio.Protocol):
    """One connection, without anything that takes the processor from the gateway: heads are searched, not parsed."""

    transport: asyncio.Transport
    left = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand on each message that is whole."""
        data = self.left + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head, start = data[:end].lower(), end + 4
            at = head.find(b"\r\ncontent-length:")
            stop = start + (int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
            if len(data) < stop:
                break
            self.message(head)
            data = data[stop:]
        self.left = data

    def message(self, head: bytes) -> None:
        """Take in a message by its head, in lower case."""
        raise NotImplementedError


class Backend(Wire):
    """Answers every request at once, as vLLM with one adapter loaded would."""

    models = answer = b""

    def message(self, head: bytes) -> None:
        body = self.models if head.startswith(b"get /v1/models") else b"" if head.startswith(b"get") else self.answer
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)


async def backend(port: int, folder: str) -> None:
    """Serve as a backend with the adapter `cy@1` from a folder."""
    cards = [{"id": "base", "root": "base"}, {"id": "cy@1", "root": folder, "parent": "base"}]
    Backend.models = json.dumps({"data": cards}).encode()
    Backend.answer = json.dumps(ANSWER).encode()
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port)
    await server.serve_forever()


def registry(folder: Path) -> Path:
    """Write a registry with one Welsh version in production; return its adapter folder."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from compass.registry import Registry
    from run_folders import write_run, write_space

    store = Registry(folder / "registry")
    version = store.register(write_run(folder / "run", write_space(folder / "space")))
    store.promote("cy")
    return version.adapter.resolve()


class Client(Wire):
    """One kept connection. ended: called with it when an answer is there."""

    def __init__(self, body: dict[str, object], ended: Callable[[Client], None]) -> None:
        content = json.dumps(body).encode()
        self.request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(content)
        ) + content
        self.ended, self.begun = ended, 0.0

    def send(self, number: int) -> None:
        """Send a request. number: goes into its prompt, because the language of a prompt is found only once."""
        self.begun = time.perf_counter()
        self.transport.write(self.request.replace(b"000000", b"%06d" % (number % 1_000_000)))

    def message(self, head: bytes) -> None:
        if not head.startswith(b"http/1.1 200"):
            raise SystemExit(f"the request was not answered: {head!r}")
        self.ended(self)


async def connected(port: int, body: dict[str, object], ended: Callable[[Client], None]) -> Client:
    """Return a connection."""
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(lambda: Client(body, ended), "127.0.0.1", port))[1]


async def at_rate(port: int, body: dict[str, object], requests: int, rate: float) -> np.ndarray:
    """Return milliseconds of each request, sent at a fixed rate, whether earlier ones have ended or not."""
    free: list[Client] = []
    taken: list[float] = []
    done = asyncio.Event()

    def ended(client: Client) -> None:
        taken.append(1e3 * (time.perf_counter() - client.begun))
        free.append(client)
        if len(taken) == requests:
            done.set()

    begin = time.perf_counter()
    for number in range(requests):
        await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
        client = free.pop() if free else await connected(port, body, ended)
        client.send(number + requests * port)
    await done.wait()
    return np.array(taken)


async def flat_out(port: int, body: dict[str, object], requests: int, connections: int) -> float:
    """Return requests a second over so many connections."""
    sent, over, done = itertools.count(), itertools.count(1), asyncio.Event()

    def ended(client: Client) -> None:
        if next(over) == requests:
            done.set()
        elif (number := next(sent)) < requests:
            client.send(number)

    clients = [await connected(port, body, ended) for _ in range(connections)]
    begin = time.perf_counter()
    for client in clients:
        client.send(next(sent))
    await done.wait()
    return requests / (time.perf_counter() - begin)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def ready(port: int) -> None:
    """Wait until the gateway has everything loaded."""
    import httpx

    async with httpx.AsyncClient() as client:
        for _ in range(600):
            try:
                if (await client.get(f"http://127.0.0.1:{port}/readyz")).is_success:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
    raise SystemExit("the gateway did not become ready")


async def measure(
    arguments: argparse.Namespace, ports: tuple[int, int], processes: Mapping[str, psutil.Process]
) -> dict[str, object]:
    """Measure the backend by itself, then through the gateway. processes: whose processor time is told."""
    await ready(ports[1])
    body = {"model": arguments.model, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0}
    direct = {**body, "model": "cy@1"}
    for port, sent in zip(ports, (direct, body), strict=True):
        await at_rate(port, sent, 300, 100)
    alone = await at_rate(ports[0], direct, arguments.requests, arguments.rate)
    before, begin = used(processes), time.perf_counter()
    through = await at_rate(ports[1], body, arguments.requests, arguments.rate)
    lasted, at_a_rate = time.perf_counter() - begin, each_took(processes, before, arguments.requests)
    median, p99 = (float(np.percentile(through, q) - np.percentile(alone, q)) for q in (50, 99))
    before = used(processes)
    throughput = await flat_out(ports[1], body, arguments.requests, arguments.connections)
    at_full_speed = each_took(processes, before, arguments.requests)
    return {
        "requests": arguments.requests,
        "rate": round(arguments.requests / lasted, 1),
        "backend_ms": {"median": round(float(np.median(alone)), 2), "p99": round(float(np.percentile(alone, 99)), 2)},
        "gateway_ms": {
            "median": round(float(np.median(through)), 2),
            "p99": round(float(np.percentile(through, 99)), 2),
        },
        "overhead_ms": {"median": round(median, 2), "p99": round(p99, 2)},
        "processor_ms_per_request": at_a_rate,
        "requests_per_second": round(throughput, 1),
        "processor_ms_per_request_flat_out": at_full_speed,
        "resident_mib": round(processes["gateway"].memory_info().rss / 2**20),
    }


def used(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Return the seconds of a processor that each has used."""
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def each_took(processes: Mapping[str, psutil.Process], before: Mapping[str, float], requests: int) -> dict[str, float]:
    """Return the milliseconds of a processor that each took for a request. before: of `used`."""
    return {name: round(1e3 * (now - before[name]) / requests, 3) for name, now in used(processes).items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000, help="Requests of each measurement.")
    parser.add_argument("--rate", type=float, default=500.0, help="Requests a second for the latency.")
    parser.add_argument("--connections", type=int, default=32, help="Connections for the throughput.")
    parser.add_argument("--model", default="auto", help="What is asked for: auto identifies the language.")
    parser.add_argument("--backend", nargs=2, metavar=("PORT", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("serve", nargs="*", help="Further options of compass serve, after --.")
    arguments = parser.parse_args()
    if arguments.backend:
        uvloop.run(backend(int(arguments.backend[0]), arguments.backend[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        adapter = registry(Path(name))
        ports = free_port(), free_port()
        started = [
            subprocess.Popen([sys.executable, __file__, "--backend", str(ports[0]), str(adapter)]),
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "compass.cli", "serve", "--registry-dir", f"{name}/registry"),
                    *("--backend", f"http://127.0.0.1:{ports[0]}", "--port", str(ports[1])),
                    *("--serve-dir", f"{name}/serve"),
                    *arguments.serve,
                ],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            ),
        ]
        try:
            pids = {"gateway": started[1].pid, "backend": started[0].pid, "load": os.getpid()}
            processes = {name: psutil.Process(pid) for name, pid in pids.items()}
            found = uvloop.run(measure(arguments, ports, processes))
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(60)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
