"""What a real vLLM serves is what the run measured: `make test-vllm`. It takes minutes and an environment of its own.

COMPASS_VLLM: vLLM's command, in whose environment this package is too. COMPASS_RUN: a finished run; without one, a
small run is made. COMPASS_ROWS: test rows.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from compass.config import ExportConfig, load_stored
from compass.data.example import Example, Message
from compass.recipes.export import export
from compass.registry import Registry
from compass.steps.resources import Resources
from processes import wait_for
from real_servers import (
    AT_ONCE,
    ROUNDING,
    ROWS,
    Rows,
    answers,
    chat_body,
    client_of,
    complete_body,
    equal_share,
    language_of,
    measured,
    preferred_otherwise,
    small_run,
    started,
)
from small_data import Files

VLLM = os.environ.get("COMPASS_VLLM", "")
OPTIONS = ("--max-model-len", "1024", "--enforce-eager", "--max-loras", "4")
pytestmark = pytest.mark.skipif(not VLLM, reason="COMPASS_VLLM names no vllm command; make test-vllm sets one up")


@dataclass(frozen=True)
class Served:
    """A vLLM that serves a run by its exported folder."""

    run: Path
    folder: Path
    url: str


def environment(**more: str) -> dict[str, str]:
    """Return what vLLM is started with."""
    return {
        **os.environ, "PATH": f"{Path(VLLM).parent}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "", **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Path:
    """The run of COMPASS_RUN, or a small one."""
    return Path(os.environ.get("COMPASS_RUN") or small_run(tmp_path_factory.mktemp("run") / "run", files))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, run: Path) -> Iterator[Served]:
    """A server that was started as `compass export` says."""
    root = tmp_path_factory.mktemp("vllm")
    folder = export(run, ExportConfig(to="vllm", export_dir=str(root / "served"))).folder
    with started(["sh", str(folder / "serve.sh"), *OPTIONS], root / "vllm.log", environment()) as url:
        yield Served(run, folder, url)


def chat_ids(client: httpx.Client, model: str, row: Example) -> tuple[int, ...]:
    """Return the tokens that chat completions answer: a text may be cut into others again."""
    return tuple(chat_body(client, model, row, return_token_ids=True)["choices"][0]["token_ids"])


def complete_ids(client: httpx.Client, model: str, row: Example) -> tuple[int, ...]:
    """Return the tokens that completions answer."""
    return tuple(complete_body(client, model, row, return_token_ids=True)["choices"][0]["token_ids"])


def check_greedy(run: Path, adapter: Path, rows: Rows, found: Sequence[Sequence[int]]) -> None:
    """See that answers are the greedy ones of an adapter, but for rounding where two tokens are as likely."""
    preferred = preferred_otherwise(run, adapter, rows, found)
    print(f"\nanother token was preferred by {preferred:.2f} nats, at most")
    assert preferred <= ROUNDING


def test_prompts_get_the_token_ids_of_the_training(served: Served) -> None:
    """The server's own tokenizer and template, token by token: the rest of serving can't be right without them."""
    from compass.training import encode_example

    tokenizer = Resources(load_stored(served.run / "compass.yaml")).tokenizer
    turns = (Message("system", " Be brief. "), Message("user", "one\n"), Message("assistant", " two <eos>"))
    rows = [row for row, _ in measured(served.run)]
    rows += [Example(id="turns", prompt="  three ", context=turns), Example(id="special", prompt="a<bos>b <eos>\n\n")]
    with client_of(served.url) as client:
        for row in rows:
            messages = [{"role": m.role, "content": m.content} for m in row.context]
            body = {"model": language_of(served.run), "messages": [*messages, {"role": "user", "content": row.prompt}]}
            found = client.post("/tokenize", json=body).raise_for_status().json()["tokens"]
            assert found == list(encode_example(tokenizer, row).prompt), row.id


@pytest.mark.parametrize("ask", [chat_ids, complete_ids], ids=["chat completions", "completions"])
def test_answers_are_those_of_the_runs_own_evaluation(served: Served, ask: Any) -> None:
    """Users would get other answers than those that were measured."""
    rows, own = zip(*measured(served.run), strict=True)
    found = answers(ask, served.url, language_of(served.run), rows)
    tokenizer = Resources(load_stored(served.run / "compass.yaml")).tokenizer
    same = equal_share([tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in found], own)
    print(f"\n{same:.0%} of {len(rows)} answers are those of the run's evaluation")
    check_greedy(served.run, served.run / "adapter", rows, found)


def test_a_version_is_swapped_in_under_load(served: Served, tmp_path: Path) -> None:
    """Requests that run while another version is loaded, used and unloaded must not see it."""
    from compass.serve.vllm import Vllm

    other = tmp_path / "adapter"
    shutil.copytree(served.folder / "adapter", other)
    file = other / "adapter_config.json"
    config = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(config | {"lora_alpha": config["lora_alpha"] / 4}), encoding="utf-8")
    rows = [row for row, _ in measured(served.run)][: max(AT_ONCE, ROWS // 3)]
    name = language_of(served.run)
    before = answers(chat_ids, served.url, name, rows)
    during: list[list[tuple[int, ...]]] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            during.append(answers(chat_ids, served.url, name, rows))

    busy = threading.Thread(target=load)
    busy.start()
    backend = Vllm(served.url, timeout=300)

    async def swap() -> list[tuple[int, ...]]:
        await backend.load("other@2", other)
        assert "other@2" in (await backend.list()).adapters
        found = await asyncio.to_thread(answers, chat_ids, served.url, "other@2", rows)
        await backend.unload("other@2")
        assert "other@2" not in (await backend.list()).adapters
        await backend.close()
        return found

    try:
        swapped = asyncio.run(swap())
    finally:
        stop.set()
        busy.join()
    print(f"\n{len(during) * len(rows)} requests under load")
    assert during
    seen = sorted({(i, ids) for found in [before, *during] for i, ids in enumerate(found)})
    check_greedy(served.run, served.run / "adapter", [rows[i] for i, _ in seen], [ids for _, ids in seen])
    check_greedy(served.run, other, rows, swapped)
    assert swapped != before


def test_a_registry_is_followed_without_a_gateway(served: Served, tmp_path: Path, files: Files) -> None:
    """The plugin in the real engine: what `cy` means follows promotions and rollbacks while requests run."""
    second = small_run(tmp_path / "second", files, "--seed", "1")
    language = language_of(served.run)
    registry = Registry(tmp_path / "registry")
    registry.register(served.run)
    registry.promote(language)
    registry.register(second, language=language)
    # The exported command, but for the adapter that it names: a name that vLLM knows is not looked up.
    script, named = (served.folder / "serve.sh").read_text("utf-8"), f"--lora-modules {language}=adapter "
    assert named in script
    file = served.folder / "registry.sh"
    file.write_text(script.replace(named, ""), encoding="utf-8")
    variables = environment(COMPASS_REGISTRY=str(registry.root), VLLM_PLUGINS="compass")
    with (
        started(["sh", str(file), *OPTIONS], tmp_path / "vllm.log", variables) as url,
        client_of(url) as client,
    ):
        rows, _ = zip(*measured(served.run), strict=True)

        def answering() -> str:
            return str(chat_body(client, language, rows[0])["model"])

        assert answering() == f"{language}@1"
        check_greedy(served.run, served.run / "adapter", rows, answers(chat_ids, url, language, rows))
        for name in ("fr", f"{language}@7", "../cy"):
            body = {"model": name, "messages": [{"role": "user", "content": "?"}]}
            assert client.post("/v1/chat/completions", json=body).status_code == httpx.codes.NOT_FOUND, name
        registry.promote(language)
        wait_for(lambda: answering() == f"{language}@2", 60)
        promoted = answers(chat_ids, url, language, rows)
        check_greedy(second, second / "adapter", rows, promoted)
        assert preferred_otherwise(served.run, served.run / "adapter", rows, promoted) > ROUNDING, "both answer alike"
        check_greedy(served.run, served.run / "adapter", rows, answers(chat_ids, url, f"{language}@1", rows))
        registry.rollback(language)
        wait_for(lambda: answering() == f"{language}@1", 60)
        check_greedy(served.run, served.run / "adapter", rows, answers(chat_ids, url, language, rows))
