"""Real model servers, as processes of their own, before runs whose evaluation says what they should answer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from compass.config import load_stored
from compass.data.example import Example
from compass.evaluation.files import read_evaluation
from compass.steps.resources import Resources
from processes import free_port
from small_data import Files

ROWS = int(os.environ.get("COMPASS_ROWS", "60"))
"""Test rows that are compared, at most."""
START_SECONDS = 1800
"""On two busy cores vLLM's imports alone take minutes."""
AT_ONCE = 8
TOKENS = 64
ROUNDING = 0.5
"""Nats by which a model that computes in bfloat16 may prefer another token than in float32."""

Answer = TypeVar("Answer")
Rows = Sequence[Example]


def small_run(folder: Path, files: Files, *more: str) -> Path:
    """Adapt for twenty steps, with answers as long as those that are asked for here."""
    arguments = files.arguments(folder, "--max-steps", "20", "--max-new-tokens", str(TOKENS), *more)
    subprocess.run([sys.executable, "-m", "compass.cli", "adapt", *arguments], check=True)
    return folder


def language_of(run: Path) -> str:
    return load_stored(run / "compass.yaml").data.language


def measured(run: Path) -> list[tuple[Example, str]]:
    """Return rows of the run's own language with its evaluation's answers."""
    language = language_of(run)
    files = sorted((run / "eval" / "adapter").glob("*.json"), key=lambda file: file.stem != language)
    found = read_evaluation(files[0])
    return list(zip(found.examples, found.predictions, strict=True))[:ROWS]


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=300, trust_env=False)


@contextlib.contextmanager
def started(
    command: Sequence[str], log: Path, environment: Mapping[str, str], health: str = "/health"
) -> Iterator[str]:
    """Run a server on a free port until it is healthy; yield its address, and end it and its children afterwards."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as file:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=dict(environment), stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(url + health, server, log)
        yield url
    finally:
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(server.pid, kind)
                server.wait(60)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=60, trust_env=False).is_success:
                return
        assert server.poll() is None, f"The server ended:\n{log.read_text('utf-8', 'replace')[-4000:]}"
        time.sleep(1)
    pytest.fail(f"The server was not ready after {START_SECONDS} s:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def chat_body(client: httpx.Client, model: str, row: Example, **more: Any) -> dict[str, Any]:
    """Return what chat completions answer. No temperature is sent: what was exported decodes greedily."""
    messages = [{"role": "user", "content": row.prompt}]
    body = {"model": model, "messages": messages, "max_tokens": TOKENS, "stop": ["\n"], **more}
    return dict(client.post("/v1/chat/completions", json=body).raise_for_status().json())


def complete_body(client: httpx.Client, model: str, row: Example, **more: Any) -> dict[str, Any]:
    """Return what completions answer."""
    body = {"model": model, "prompt": f"{row.prompt}\n", "max_tokens": TOKENS, "stop": ["\n"], **more}
    return dict(client.post("/v1/completions", json=body).raise_for_status().json())


def chat(client: httpx.Client, model: str, row: Example) -> str:
    """Return the text that chat completions answer."""
    return str(chat_body(client, model, row)["choices"][0]["message"]["content"]).strip()


def answers(ask: Callable[[httpx.Client, str, Example], Answer], url: str, model: str, rows: Rows) -> list[Answer]:
    """Return the answers to rows, of which some are asked at once."""
    with client_of(url) as client, ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda row: ask(client, model, row), rows))


def equal_share(found: Sequence[str], wanted: Sequence[str]) -> float:
    """Return the share of answers that are those that were wanted."""
    return sum(one == other for one, other in zip(found, wanted, strict=True)) / len(wanted)


def preferred_otherwise(run: Path, adapter: Path, rows: Rows, found: Sequence[Sequence[int]]) -> float:
    """Return by how many nats, at most, the run's base model with an adapter prefers another token to one of an answer.

    Nothing but rounding for greedy answers of the same model: another order of sums tips tokens that are as likely.
    """
    import torch

    from compass.training import encode_example
    from compass.training.adapters import load_with_adapter

    resources = Resources(load_stored(run / "compass.yaml"))
    model = load_with_adapter(resources.base, adapter, dtype="float32")
    worst = 0.0
    for row, answer in zip(rows, found, strict=True):
        prompt = encode_example(resources.tokenizer, row).prompt
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1].float()
        chosen = logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
        worst = max(worst, float((logits.max(dim=-1).values - chosen).max()))
    return worst
