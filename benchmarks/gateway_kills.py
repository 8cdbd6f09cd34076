"""10,000 requests through the gateway under `kill -9` of a model server, of the gateway and of PostgreSQL. JSON.

    python benchmarks/gateway_kills.py --requests 10000

Every client has to get a whole answer or a clean error, every prompt to be counted at most once, and what is lost to
lie in the last moment before a kill of the gateway. Ends with status 1 otherwise. A quarter of requests is streamed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from aiohttp import web

KILLED = ("a", "database", "gateway", "b")
"""In turn; one at a time, and the next once everything is back."""
PROMPT = "Trowch y golau ymlaen yn y gegin os gwelwch yn dda"
PROMPT_SECONDS, ANSWER_SECONDS = 1.5, 20.0
"""How long before a kill of the gateway an answer may have ended whose prompt, and which itself, was not written yet: a
busy machine takes longer than the gateway waits, and answers wait for a database that is down."""


def serve(port: int) -> None:
    """Answer as vLLM would, in up to 50 ms, each time with another id."""
    adapters: dict[str, str] = {}
    turn = itertools.count()

    async def load(request: web.Request) -> web.Response:
        body = await request.json()
        adapters[body["lora_name"]] = body["lora_path"]
        return web.Response()

    async def models(_request: web.Request) -> web.Response:
        cards = [{"id": "base", "root": "base"}]
        cards += [{"id": name, "root": root, "parent": "base"} for name, root in adapters.items()]
        return web.json_response({"data": cards})

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body["model"] not in adapters:
            return web.json_response({"error": {}}, status=404)
        await asyncio.sleep(next(turn) % 10 / 200)
        id = f"chatcmpl-{uuid4().hex}"
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "Iawn."}}
            return web.json_response({"id": id, "model": body["model"], "choices": [choice]})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for part in ("Ia", "wn", "."):
            piece = {"id": id, "choices": [{"index": 0, "delta": {"content": part}}]}
            await response.write(b"data: " + json.dumps(piece).encode() + b"\n\n")
            await asyncio.sleep(0.005)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def healthy(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.add_routes([
        web.get("/health", healthy), web.get("/v1/models", models), web.post("/v1/load_lora_adapter", load),
        web.post("/v1/chat/completions", answer),
    ])  # fmt: skip
    web.run_app(app, host="127.0.0.1", port=port, print=None)


class Processes:
    """Two model servers, PostgreSQL and the gateway."""

    def __init__(self, root: Path) -> None:
        self.root, self.running = root, dict[str, subprocess.Popen[bytes]]()
        self.ports = {name: free_port() for name in ("a", "b", "gateway")}
        self.who = _postgres_user()
        self.data = root / "postgres"
        self.data.mkdir(mode=0o700)
        if self.who:
            os.chown(self.data, self.who["user"], self.who["group"])
        initdb = [_binary("initdb"), "-D", str(self.data / "data"), "-U", "compass", "-A", "trust", "--locale=C"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=self.data, **self.who)
        self.url = f"postgresql://compass@/postgres?host={self.data}"

    def start(self, name: str) -> None:
        """Start one of them, in a process group of its own."""
        command, who = [sys.executable, __file__, "--serve", str(self.ports.get(name, 0))], {}
        if name == "database":
            listen = ["-k", str(self.data), "-c", "listen_addresses="]
            command, who = [_binary("postgres"), "-D", str(self.data / "data"), *listen], self.who
            (self.data / "data" / "postmaster.pid").unlink(missing_ok=True)
        if name == "gateway":
            command = [sys.executable, "-m", "compass.cli", "serve", "--registry-dir", str(self.root / "registry")]
            command += ["--serve-dir", str(self.root / "serve"), "--port", str(self.ports[name])]
            command += ["--database", self.url, "--reservoir", "full"]
            command += [part for one in "ab" for part in ("--backend", f"http://127.0.0.1:{self.ports[one]}")]
        with (self.root / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
                cwd=self.data if name == "database" else None, **who,
            )  # fmt: skip

    def kill(self, name: str) -> float:
        """Send `kill -9` to one and all that it has started; return when."""
        process, at = self.running.pop(name), time.time()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return at


@dataclass
class Load:
    """What clients got."""

    gateway: str
    outcomes: Counter[str] = field(default_factory=Counter)
    answered: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Prompt -> id of its whole answer, and when it had come."""
    sent: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)

    async def client(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        """Send requests one after another; wait while nothing listens."""
        for number in numbers:
            await self.up.wait()
            self.sent += 1
            prompt, streamed = f"{PROMPT} {number:06d}", number % 4 == 0
            body = {"model": "cy", "messages": [{"role": "user", "content": prompt}], "stream": streamed}
            try:
                async with session.post(f"{self.gateway}/v1/chat/completions", json=body) as response:
                    content = await response.read()
                    self._take(prompt, response.status, content, streamed=streamed)
            except aiohttp.ClientConnectorError:
                self.outcomes["no connection"] += 1
                await asyncio.sleep(0.5)
            except aiohttp.ClientError:
                self.outcomes["the connection broke"] += 1
            except TimeoutError:
                self.outcomes["HANGS"] += 1

    def _take(self, prompt: str, status: int, content: bytes, *, streamed: bool) -> None:
        if status != 200:
            code = json.loads(content)["error"]["code"]
            clean = (status, code) in ((502, "backend_lost"), (503, "no_backend"))
            self.outcomes[f"{status} {code}" if clean else f"WRONG {status} {code}"] += 1
            return
        if not streamed:
            self.outcomes["200"] += 1
            self.answered[prompt] = json.loads(content)["id"], time.time()
        elif content.endswith(b"data: [DONE]\n\n"):
            self.outcomes["200, a whole stream"] += 1
            self.answered[prompt] = json.loads(content.split(b"\n")[0][6:])["id"], time.time()
        else:
            last = content.strip().split(b"\n\n")[-1]
            ends = last.startswith(b'data: {"error"') and b"[DONE]" not in content
            self.outcomes["200, a stream that ends in an error" if ends else "WRONG stream"] += 1


async def measure(processes: Processes, requests: int, connections: int, kills: int) -> dict[str, Any]:
    """Send all requests, and kill meanwhile."""
    load = Load(f"http://127.0.0.1:{processes.ports['gateway']}")
    killed: list[tuple[str, float]] = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        await ready(session, load, processes)
        numbers = iter(range(requests))
        clients = [asyncio.create_task(load.client(session, numbers)) for _ in range(connections)]
        for number, name in zip(range(kills), itertools.cycle(KILLED)):
            while load.sent < requests * (number + 1) // (kills + 1):
                await asyncio.sleep(0.02)
            killed.append((name, processes.kill(name)))
            if name == "gateway":
                load.up.clear()
            await asyncio.sleep(1.0)
            processes.start(name)
            await ready(session, load, processes)
        await asyncio.gather(*clients)
    processes.running["gateway"].send_signal(signal.SIGTERM)
    await asyncio.to_thread(processes.running.pop("gateway").wait)
    return {**_account(processes, load, killed), "sent": load.sent, "kills": dict(Counter(name for name, _ in killed))}


async def ready(session: aiohttp.ClientSession, load: Load, processes: Processes) -> None:
    """Wait until the gateway answers and both servers have everything."""
    up = [f'backend="http://127.0.0.1:{processes.ports[one]}"}} 1.0' for one in "ab"]
    for _ in range(3000):
        try:
            async with session.get(f"{load.gateway}/metrics") as response:
                text = await response.text()
                load.up.set()
            async with session.get(f"{load.gateway}/readyz") as response:
                if response.status == 200 and all(line in text for line in up):
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.2)
        for name, process in processes.running.items():
            if process.poll() is not None:
                log = (processes.root / f"{name}.log").read_text("utf-8", "replace")
                raise SystemExit(f"{name} has ended:\n{log[-2000:]}")
    raise SystemExit("not everything came back")


def _account(processes: Processes, load: Load, killed: list[tuple[str, float]]) -> dict[str, Any]:
    """Compare what clients got with what was counted."""
    lines = [
        json.loads(line)["prompt"]
        for path in (processes.root / "serve" / "prompts").glob("*.jsonl")
        for line in path.read_bytes().split(b"\n")[1:-1]
    ]
    kept = _ids(processes.url)
    gateway = [at for name, at in killed if name == "gateway"]

    def before(prompts: set[str]) -> dict[str, Any]:
        gaps = [min((at - load.answered[p][1] for at in gateway if at > load.answered[p][1]), default=1e9)
                for p in prompts]  # fmt: skip
        return {"lost": len(gaps), "at most seconds before a kill": round(max(gaps, default=0.0), 2)}

    prompts = before(set(load.answered) - set(lines))
    answers = before({prompt for prompt, (id, _) in load.answered.items() if id not in kept})
    wrong = {
        "counted twice": len(lines) - len(set(lines)),
        "counted and never sent": len([one for one in lines if not one.startswith(PROMPT)]),
        **{outcome: n for outcome, n in load.outcomes.items() if outcome.split()[0] in ("WRONG", "HANGS")},
        "lost otherwise": (prompts["at most seconds before a kill"] > PROMPT_SECONDS)
        + (answers["at most seconds before a kill"] > ANSWER_SECONDS),
    }
    return {
        "outcomes": dict(sorted(load.outcomes.items())), "prompts counted": len(lines), "prompts": prompts,
        "answers kept": len(kept), "answers": answers, "wrong": {name: n for name, n in wrong.items() if n},
    }  # fmt: skip


def _ids(url: str) -> set[str]:
    from sqlalchemy import create_engine, text

    with create_engine(
        url.replace("postgresql:", "postgresql+psycopg:") + "&client_encoding=utf8"
    ).connect() as connection:
        return set(connection.execute(text("select id from compass_answers")).scalars())


def _binary(name: str) -> str:
    folders = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    if not found:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    return found


def _postgres_user() -> dict[str, Any]:
    """Return who runs PostgreSQL, which refuses to run as root."""
    if os.geteuid():
        return {}
    account = next(entry for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody"))
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="Requests in all.")
    parser.add_argument("--connections", type=int, default=16, help="Requests at a time.")
    parser.add_argument("--kills", type=int, default=12, help="Kills, a quarter of them the gateway's.")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    # PostgreSQL's socket needs a short path, and its user a way in.
    root = Path(tempfile.mkdtemp(prefix="kills", dir="/tmp"))
    root.chmod(0o755)
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from compass.registry import Registry
    from run_folders import write_run, write_space

    registry = Registry(root / "registry")
    registry.register(write_run(root / "run", write_space(root / "space")))
    registry.promote("cy")
    processes = Processes(root)
    try:
        processes.start("database")
        time.sleep(3.0)
        for name in ("a", "b", "gateway"):
            processes.start(name)
        found = asyncio.run(measure(processes, arguments.requests, arguments.connections, arguments.kills))
    finally:
        for name in list(processes.running):
            processes.kill(name)
    print(json.dumps(found, indent=2))
    shutil.rmtree(root, ignore_errors=True)
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
