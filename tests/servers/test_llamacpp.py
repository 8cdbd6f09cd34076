"""A real llama.cpp server behind the gateway: `make test-llamacpp`.

COMPASS_LLAMACPP: the folder that it was built in.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from compass.config import ExportConfig
from compass.data.example import Example
from compass.recipes.export import export
from compass.registry import Registry
from processes import wait_for
from real_servers import (
    AT_ONCE,
    answers,
    chat,
    client_of,
    equal_share,
    language_of,
    measured,
    small_run,
    started,
)
from small_data import Files

BUILT = Path(os.environ.get("COMPASS_LLAMACPP", ""))
CONVERTER = BUILT / "llama.cpp" / "convert_lora_to_gguf.py"
SAME_BITS = ("--parallel", "1", "--no-cache-prompt")
"""So that an answer does not depend on what else is asked: in another batch, sums are rounded differently."""
pytestmark = pytest.mark.skipif(
    not os.environ.get("COMPASS_LLAMACPP"), reason="COMPASS_LLAMACPP names no folder; see make test-llamacpp"
)


def environment() -> dict[str, str]:
    """Return what servers are started with: the exported script looks for llama-server on the PATH."""
    return {**os.environ, "PATH": f"{BUILT.absolute()}{os.pathsep}{os.environ['PATH']}"}


@dataclass(frozen=True)
class Exported:
    """Two versions of a language in a registry, each exported by itself."""

    language: str
    registry: Registry
    folders: tuple[Path, Path]
    rows: tuple[Example, ...]
    alone: dict[str, list[str]]
    """Model -> its answers from a server with one adapter, started as `compass export` says."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Exported:
    root = tmp_path_factory.mktemp("llamacpp")
    runs = [small_run(root / f"run{seed}", files, "--seed", str(seed)) for seed in (1, 2)]
    language = language_of(runs[0])
    registry = Registry(root / "registry")
    for run in runs:
        registry.register(run)
        registry.promote(language)
    first, second = (
        export(run, ExportConfig(to="gguf", converter=str(CONVERTER), export_dir=f"{run}-gguf")).folder for run in runs
    )
    rows, own = zip(*measured(runs[0]), strict=True)
    started_as = {f"{language}@1": first, f"{language}@2": second, "base": base_alone(first, root / "base")}
    alone: dict[str, list[str]] = {}
    for name, folder in started_as.items():
        with started(["sh", str(folder / "serve.sh"), *SAME_BITS], root / "alone.log", environment()) as url:
            alone[name] = answers(chat, url, "any", rows)
    print(f"\n{equal_share(alone[f'{language}@1'], own):.0%} of {len(rows)} answers are those of the run's evaluation")
    return Exported(language, registry, (first, second), rows, alone)


def base_alone(exported: Path, folder: Path) -> Path:
    """Copy what was exported, but start it without its adapter."""
    shutil.copytree(exported, folder)
    file = folder / "serve.sh"
    file.write_text(file.read_text("utf-8").replace("--lora adapter.gguf ", ""), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def gateway(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway before one server with both versions, as docs/serve.md says."""
    root = tmp_path_factory.mktemp("gateway")
    first, _ = exported.folders
    files = [root / f"{exported.language}@{number}.gguf" for number in (1, 2)]
    for folder, file in zip(exported.folders, files, strict=True):
        shutil.copy(folder / "adapter.gguf", file)
    server = [
        "llama-server", "-m", str(first / "base.gguf"), "--alias", "base", "--temp", "0", "--lora-init-without-apply",
        *SAME_BITS,
        *(part for file in files for part in ("--lora", str(file))),
        "--jinja", "--chat-template-file", str(first / "adapter" / "chat_template.jinja"),
    ]  # fmt: skip
    with started(server, root / "server.log", environment()) as backend:
        command = [
            sys.executable, "-m", "compass.cli", "serve", "--registry-dir", str(exported.registry.root),
            "--serve-dir", str(root / "serve"), "--backend", f"llamacpp+{backend}",
        ]  # fmt: skip
        with started(command, root / "gateway.log", environment(), "/readyz") as url:
            yield url


def test_requests_at_once_get_the_answers_of_their_own_version(exported: Exported, gateway: str) -> None:
    """All adapters are loaded, and a request's scales say which one answers: a neighbour's would show in its text."""
    models = [(name, i) for i in range(len(exported.rows)) for name in exported.alone]
    with client_of(gateway) as client, ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda at: chat(client, at[0], exported.rows[at[1]]), models))
    for name, alone in exported.alone.items():
        same = equal_share([text for text, (asked, _) in zip(found, models, strict=True) if asked == name], alone)
        print(f"\n{name}: {same:.0%} of {len(alone)} answers are those of a server with this adapter alone")
        assert same == 1
    assert len({tuple(texts) for texts in exported.alone.values()}) == len(exported.alone)


def test_a_promotion_and_a_rollback_need_no_restart_where_both_adapters_are_there(
    exported: Exported, gateway: str
) -> None:
    """The language would mean its old version until somebody starts the server again."""
    language = exported.language

    def means(version: str) -> bool:
        found = answers(chat, gateway, language, exported.rows)
        return equal_share(found, exported.alone[version]) == 1

    assert means(f"{language}@2")
    exported.registry.rollback(language)
    wait_for(lambda: means(f"{language}@1"), 120)
    exported.registry.promote(language, "2")
    wait_for(lambda: means(f"{language}@2"), 120)


def test_a_stream_is_passed_on(exported: Exported, gateway: str) -> None:
    """Clients that stream would get nothing, or everything at once."""
    row = exported.rows[0]
    body = {"model": exported.language, "messages": [{"role": "user", "content": row.prompt}], "stream": True}
    with client_of(gateway) as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    assert response.status_code == httpx.codes.OK
    assert lines[-1] == "data: [DONE]"
    assert len(lines) > 3
