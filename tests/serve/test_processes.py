"""Real processes: `kill -9` of a backend and of the gateway under load, and the gateway's orderly end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import model_servers
from compass.registry import Registry
from processes import free_port, wait_for

CLEAN = {200, 502, 503}


class Processes:
    """The gateway and two backends."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.folder, self.registry = folder, registry
        self.ports = [free_port() for _ in range(3)]
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start `a`, `b` or `gateway`."""
        command = [model_servers.__file__, str(self.ports["ab".find(name)])]
        if name == "gateway":
            command = ["-m", "compass.cli", "serve", "--registry-dir", str(self.registry.root), "--reservoir", "full"]
            command += ["--drain-seconds", "3"]
            command += ["--serve-dir", str(self.folder / "serve"), "--port", str(self.ports[2])]
            command += [part for port in self.ports[:2] for part in ("--backend", f"http://127.0.0.1:{port}")]
        root = Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, *command], env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def end(self, name: str, number: signal.Signals) -> int:
        """Send a signal, and return the exit code."""
        process = self.running.pop(name)
        process.send_signal(number)
        return process.wait(60)

    def ready(self) -> bool:
        """Whether both backends have everything."""
        try:
            metrics = httpx.get(f"http://127.0.0.1:{self.ports[2]}/metrics", timeout=5).text
        except httpx.HTTPError:
            return False
        up = [f'compass_backend_up{{backend="http://127.0.0.1:{port}"}} 1.0' for port in self.ports[:2]]
        return all(line in metrics for line in up) and 'version{language="cy"} 1.0' in metrics


@pytest.fixture
def processes(registry: Registry, tmp_path: Path) -> Iterator[Processes]:
    found = Processes(registry, tmp_path)
    yield found
    for process in found.running.values():
        process.kill()
        process.wait()


def test_every_client_gets_an_answer_or_a_clean_error(processes: Processes) -> None:
    """A kill would leave clients hanging or with half an answer, count prompts twice, or lose more than was said."""
    for name in ("a", "b", "gateway"):
        processes.start(name)
    wait_for(processes.ready, 120)
    url = f"http://127.0.0.1:{processes.ports[2]}/v1/chat/completions"
    answered: list[str] = []
    sent = 0

    async def one(client: httpx.AsyncClient, **more: object) -> int:
        nonlocal sent
        sent += 1
        prompt = f"cwestiwn {sent}"
        body = {"model": "cy", "messages": [{"role": "user", "content": prompt}], **more}
        try:
            response = await client.post(url, json=body)
        except httpx.TransportError:
            return 0
        if response.status_code == 200:
            assert more or json.loads(response.content)["model"] == "cy@1"
            answered.append(prompt)
        else:
            assert json.loads(response.content)["error"]["code"] in ("backend_lost", "no_backend", "stopped")
        return response.status_code

    async def many(client: httpx.AsyncClient, n: int) -> list[int]:
        return list(await asyncio.gather(*(one(client, x_delay=0.2 if i % 4 == 0 else 0) for i in range(n))))

    async def work() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            # A backend is killed while requests run.
            load = asyncio.create_task(many(client, 40))
            await asyncio.sleep(0.15)
            processes.end("a", signal.SIGKILL)
            assert set(await load) <= CLEAN
            assert set(await many(client, 10)) == {200}
            # It comes back with nothing loaded.
            processes.start("a")
            await asyncio.to_thread(wait_for, processes.ready, 60)
            # The gateway is killed while requests run.
            await asyncio.sleep(1.0)
            before = set(answered)
            load = asyncio.create_task(many(client, 40))
            await asyncio.sleep(0.15)
            processes.end("gateway", signal.SIGKILL)
            assert set(await load) <= CLEAN | {0}
            assert before <= set(logged(processes)), "more was lost than the last moment"
        processes.start("gateway")
        await asyncio.to_thread(wait_for, processes.ready, 60)
        async with httpx.AsyncClient(timeout=60) as client:
            # It is stopped while a request runs, which ends first.
            last = asyncio.create_task(one(client, x_delay=1.0, stream=True))
            # Another takes longer than the gateway waits.
            longest = asyncio.create_task(one(client, x_delay=30.0))
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(processes.end, "gateway", signal.SIGTERM) == 0
            assert await last == 200
            assert await longest == 503

    log = (processes.folder / "gateway.log").read_text("utf-8")
    assert "Traceback" not in log

    asyncio.run(asyncio.wait_for(work(), 240))
    found = logged(processes)
    assert len(found) == len(set(found)), "a prompt is counted twice"
    assert set(found) <= {f"cwestiwn {n + 1}" for n in range(sent)}
    assert answered[-1] in found


def logged(processes: Processes) -> list[str]:
    """Return the prompts that the monitor would read."""
    lines = [
        line
        for path in (processes.folder / "serve" / "prompts").glob("*.jsonl")
        for line in path.read_bytes().split(b"\n")[1:-1]
    ]
    return [json.loads(line)["prompt"] for line in lines]
