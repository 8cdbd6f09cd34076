"""What the gateway adds to a request, and how many it takes a second, before a backend that answers at once. JSON.

    python benchmarks/gateway.py --requests 5000 --rate 500

Three processes: a bare backend, `compass serve`, and this one, which sends over kept connections, first to the backend
itself, then through the gateway: at a fixed rate for the latency, and as fast as answers come for the throughput. On a
machine that is busy otherwise, go by the processor time of the gateway per request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

PROMPT = "Trowch y golau ymlaen yn y gegin, a gosodwch larwm am saith o'r gloch bore yfory os gwelwch yn dda 000000."
ANSWER = {
    "id": "chatcmpl-0123456789abcdef",
    "object": "chat.completion",
    "model": "cy@1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Iawn. " * 40}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 30, "completion_tokens": 80, "total_tokens": 110},
}


async def backend(port: int, folder: str) -> None:
    """Answer every request at once, as vLLM with one adapter loaded would."""
    cards = [{"id": "base", "root": "base"}, {"id": "cy@1", "root": folder, "parent": "base"}]
    models = json.dumps({"data": cards}).encode()
    answer = json.dumps(ANSWER).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            body = models if head.startswith(b"GET /v1/models") else b"" if head.startswith(b"GET") else answer
            kind = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            writer.write(kind + body)

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(quiet, "127.0.0.1", port) as server:
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


class Client:
    """One kept connection."""

    def __init__(self, port: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.port = port
        self.request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(content)
        ) + content
        self.sent = 0

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self) -> int:
        """Send one request, read its answer, and return its status."""
        # Another prompt each time: the language of one that was seen is known.
        self.sent += 1
        self.writer.write(self.request.replace(b"000000", b"%06d" % ((id(self) + self.sent) % 1_000_000)))
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if length is None:
            raise SystemExit(f"an answer without a length: {head!r}")
        await self.reader.readexactly(int(length[1]))
        return int(head[9:12])


async def at_rate(port: int, body: dict[str, object], requests: int, rate: float) -> np.ndarray:
    """Return milliseconds of each request, sent at a fixed rate, whether earlier ones have ended or not."""
    free: asyncio.Queue[Client] = asyncio.Queue()
    taken: list[float] = []

    async def one() -> None:
        client = free.get_nowait() if not free.empty() else None
        if client is None:
            client = Client(port, body)
            await client.open()
        start = time.perf_counter()
        status = await client.send()
        taken.append(1e3 * (time.perf_counter() - start))
        if status != 200:
            raise SystemExit(f"status {status}")
        free.put_nowait(client)

    begin = time.perf_counter()
    tasks = []
    for number in range(requests):
        await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    return np.array(taken)


async def flat_out(port: int, body: dict[str, object], requests: int, connections: int) -> float:
    """Return requests a second over so many connections."""
    left = iter(range(requests))

    async def one() -> None:
        client = Client(port, body)
        await client.open()
        for _ in left:
            await client.send()

    begin = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
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


async def measure(arguments: argparse.Namespace, ports: tuple[int, int], gateway: psutil.Process) -> dict[str, object]:
    """Measure the backend by itself, then through the gateway."""
    await ready(ports[1])
    body = {"model": arguments.model, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0}
    direct = {**body, "model": "cy@1"}
    for port, sent in zip(ports, (direct, body), strict=True):
        await at_rate(port, sent, 300, 100)
    alone = await at_rate(ports[0], direct, arguments.requests, arguments.rate)
    before, begin = sum(gateway.cpu_times()[:2]), time.perf_counter()
    through = await at_rate(ports[1], body, arguments.requests, arguments.rate)
    used, lasted = sum(gateway.cpu_times()[:2]) - before, time.perf_counter() - begin
    median, p99 = (float(np.percentile(through, q) - np.percentile(alone, q)) for q in (50, 99))
    before = sum(gateway.cpu_times()[:2])
    throughput = await flat_out(ports[1], body, arguments.requests, arguments.connections)
    used_flat_out = sum(gateway.cpu_times()[:2]) - before
    return {
        "requests": arguments.requests,
        "rate": round(arguments.requests / lasted, 1),
        "backend_ms": {"median": round(float(np.median(alone)), 2), "p99": round(float(np.percentile(alone, 99)), 2)},
        "gateway_ms": {
            "median": round(float(np.median(through)), 2),
            "p99": round(float(np.percentile(through, 99)), 2),
        },
        "overhead_ms": {"median": round(median, 2), "p99": round(p99, 2)},
        "gateway_processor_ms_per_request": round(1e3 * used / arguments.requests, 3),
        "requests_per_second": round(throughput, 1),
        "processor_ms_per_request_flat_out": round(1e3 * used_flat_out / arguments.requests, 3),
        "resident_mib": round(gateway.memory_info().rss / 2**20),
    }


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
        asyncio.run(backend(int(arguments.backend[0]), arguments.backend[1]))
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
            found = asyncio.run(measure(arguments, ports, psutil.Process(started[1].pid)))
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(60)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
