"""What a real vLLM serves is what the run measured: `make test-vllm`. It takes minutes and an environment of its own.

COMPASS_VLLM: vLLM's command. COMPASS_RUN: a finished run; without one, a small run is made. COMPASS_ROWS: test rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from compass.config import ExportConfig, load_stored
from compass.data.example import Example, Message
from compass.evaluation.files import read_evaluation
from compass.recipes.export import export
from compass.steps.resources import Resources
from small_data import Files

VLLM = os.environ.get("COMPASS_VLLM", "")
ROWS = int(os.environ.get("COMPASS_ROWS", "60"))
START_SECONDS = 1800
"""On two busy cores the imports alone take minutes."""
AT_ONCE = 8
TOKENS = 64
pytestmark = pytest.mark.skipif(not VLLM, reason="COMPASS_VLLM names no vllm command; make test-vllm sets one up")


@dataclass(frozen=True)
class Served:
    """A vLLM that serves a run by its exported folder."""

    run: Path
    folder: Path
    url: str

    @property
    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=300, trust_env=False)

    def measured(self) -> list[tuple[Example, str]]:
        """Return rows of the run's own language with its evaluation's answers."""
        language = load_stored(self.run / "compass.yaml").data.language
        files = sorted((self.run / "eval" / "adapter").glob("*.json"), key=lambda file: file.stem != language)
        found = read_evaluation(files[0])
        return list(zip(found.examples, found.predictions, strict=True))[:ROWS]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("vllm")
    run = Path(os.environ.get("COMPASS_RUN") or small_run(root, files))
    folder = export(run, ExportConfig(to="vllm", export_dir=str(root / "served"))).folder
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ, "PATH": f"{Path(VLLM).parent}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "",
    }  # fmt: skip
    more = [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--max-model-len",
        "1024",
        "--enforce-eager",
        "--max-loras",
        "4",
    ]
    with (root / "vllm.log").open("wb") as log:
        server = subprocess.Popen(
            ["sh", str(folder / "serve.sh"), *more], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        found = Served(run, folder, f"http://127.0.0.1:{port}")
        wait_for(found, server, root / "vllm.log")
        yield found
    finally:
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(server.pid, kind)
                server.wait(60)


def small_run(root: Path, files: Files) -> Path:
    run = root / "run"
    arguments = files.arguments(run, "--max-steps", "20", "--max-new-tokens", str(TOKENS))
    subprocess.run([sys.executable, "-m", "compass.cli", "adapt", *arguments], check=True)
    return run


def wait_for(served: Served, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(httpx.HTTPError), served.client as client:
            if client.get("/health").is_success:
                return
        assert server.poll() is None, f"vLLM ended:\n{log.read_text('utf-8', 'replace')[-4000:]}"
        time.sleep(2)
    pytest.fail(f"vLLM was not ready after {START_SECONDS} s:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def chat(client: httpx.Client, model: str, row: Example) -> str:
    messages = [{"role": "user", "content": row.prompt}]
    body = {"model": model, "messages": messages, "max_tokens": TOKENS, "stop": ["\n"]}
    return str(
        client.post("/v1/chat/completions", json=body).raise_for_status().json()["choices"][0]["message"]["content"]
    )


def complete(client: httpx.Client, model: str, row: Example) -> str:
    body = {"model": model, "prompt": f"{row.prompt}\n", "max_tokens": TOKENS, "stop": ["\n"]}
    return str(client.post("/v1/completions", json=body).raise_for_status().json()["choices"][0]["text"])


def answers(ask: Any, served: Served, model: str, rows: Sequence[Example]) -> list[str]:
    with served.client as client, ThreadPoolExecutor(AT_ONCE) as pool:
        return [answer.strip() for answer in pool.map(lambda row: ask(client, model, row), rows)]


def language(served: Served) -> str:
    return load_stored(served.run / "compass.yaml").data.language


def test_prompts_get_the_token_ids_of_the_training(served: Served) -> None:
    """The server's own tokenizer and template, token by token: the rest of serving can't be right without them."""
    from compass.training import encode_example

    tokenizer = Resources(load_stored(served.run / "compass.yaml")).tokenizer
    turns = (Message("system", " Be brief. "), Message("user", "one\n"), Message("assistant", " two <eos>"))
    rows = [row for row, _ in served.measured()]
    rows += [Example(id="turns", prompt="  three ", context=turns), Example(id="special", prompt="a<bos>b <eos>\n\n")]
    with served.client as client:
        for row in rows:
            messages = [{"role": m.role, "content": m.content} for m in row.context]
            body = {"model": language(served), "messages": [*messages, {"role": "user", "content": row.prompt}]}
            found = client.post("/tokenize", json=body).raise_for_status().json()["tokens"]
            assert found == list(encode_example(tokenizer, row).prompt), row.id


@pytest.mark.parametrize("ask", [chat, complete], ids=["chat completions", "completions"])
def test_answers_are_those_of_the_runs_own_evaluation(served: Served, ask: Any) -> None:
    """No temperature is sent: the exported settings decode greedily. One row in 30 may differ, by rounding at a tie."""
    measured = served.measured()
    found = answers(ask, served, language(served), [row for row, _ in measured])
    same = sum(answer == own for answer, (_, own) in zip(found, measured, strict=True))
    print(f"\n{ask.__name__}: {same} of {len(measured)} answers are those of the run's evaluation")
    assert same >= len(measured) * 29 / 30


def test_a_version_is_swapped_in_under_load(served: Served, tmp_path: Path) -> None:
    """Requests that run while another version is loaded, used and unloaded must not see it."""
    from compass.serve.vllm import Vllm
    from compass.training import LanguageModel

    other = tmp_path / "adapter"
    shutil.copytree(served.folder / "adapter", other)
    file = other / "adapter_config.json"
    config = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(config | {"lora_alpha": config["lora_alpha"] / 4}), encoding="utf-8")
    rows = [row for row, _ in served.measured()][: max(AT_ONCE, ROWS // 3)]
    name, before = language(served), answers(chat, served, language(served), rows)
    base = Resources(load_stored(served.run / "compass.yaml")).base
    wanted = LanguageModel(base, other).generate(rows, max_new_tokens=TOKENS, batch_size=AT_ONCE)
    during: list[list[str]] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            during.append(answers(chat, served, name, rows))

    busy = threading.Thread(target=load)
    busy.start()
    backend = Vllm(served.url, timeout=300)

    async def swap() -> list[str]:
        await backend.load("other@2", other)
        assert "other@2" in (await backend.list()).adapters
        found = await asyncio.to_thread(answers, chat, served, "other@2", rows)
        await backend.unload("other@2")
        assert "other@2" not in (await backend.list()).adapters
        await backend.close()
        return found

    try:
        swapped = asyncio.run(swap())
    finally:
        stop.set()
        busy.join()
    same = sum(one == other for one, other in zip(swapped, wanted, strict=True))
    print(f"\n{len(during) * len(rows)} requests under load; {same} of {len(rows)} of the new version as measured here")
    differing = sum(one != other for found in during for one, other in zip(found, before, strict=True))
    assert during
    assert differing <= len(during) * len(rows) / 30
    assert same >= len(rows) * 29 / 30 - 1
    assert swapped != before
