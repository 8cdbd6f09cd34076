"""Snippets of README and docs/: Python that imports and calls what there is, commands that parse, options that load."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer

import compass
from compass.cli.app import app
from compass.config import (
    AdaptConfig,
    CompareConfig,
    ExportOptions,
    LabelOptions,
    MonitorOptions,
    RegistryOptions,
    TaskOptions,
    UpdateOptions,
    WatchOptions,
    load_options,
)
from compass.errors import ConfigError
from compass.semantic import SemanticSpace

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
KINDS: tuple[type[Any], ...] = (
    AdaptConfig, CompareConfig, UpdateOptions, MonitorOptions, RegistryOptions, WatchOptions, TaskOptions,
    LabelOptions, ExportOptions,
)  # fmt: skip


@dataclass(frozen=True)
class Snippet:
    place: str
    text: str


def blocks(language: str) -> Iterator[Any]:
    """Yield the fenced blocks of a language; `sh` also takes fences without one, and indented blocks."""
    for page in PAGES:
        text = page.read_text("utf-8")
        found = [(text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in
                 re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.M | re.S)]  # fmt: skip
        if language == "sh":
            plain = re.sub(r"^```.*?^```", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S)
            found += [(plain.count("\n", 0, m.start()) + 1, "sh", inspect.cleandoc(m[0])) for m in
                      re.finditer(r"(?:^ {4}.*\n)+", plain, re.M)]  # fmt: skip
        for line, own, body in found:
            if own == language or (language == "sh" and own == ""):
                place = f"{page.relative_to(ROOT)}:{line}"
                yield pytest.param(Snippet(place, body), id=place)


def commands() -> Iterator[Any]:
    """Yield each command line that starts with `compass`, with its continuation lines."""
    for block in blocks("sh"):
        for line in block.values[0].text.replace("\\\n", " ").splitlines():
            if line.strip().startswith("compass "):
                yield pytest.param(line.strip(), id=f"{block.id} {line.strip()[:40]}")


def mentions() -> Iterator[Any]:
    """Yield each `compass command ...` within a sentence."""
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
        for mention in sorted(set(re.findall(r"`(compass [a-z][^`]*)`", text))):
            yield pytest.param(" ".join(mention.split()), id=f"{page.relative_to(ROOT)} {mention[:40]}")


def arguments_of(line: str) -> list[str]:
    """Return what follows `compass`, in the spelling of the parser; `...` stands for further options."""
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index("...")] if "..." in words else words
    spelt = [word.partition("=") for word in words]
    return [
        name.replace("_", "-") + sign + value if name.startswith("--") else name + sign + value
        for name, sign, value in spelt
    ]


@functools.cache
def compass_command() -> Any:
    """Make the commands once: there are hundreds of lines to parse."""
    return typer.main.get_command(app)


def parse(arguments: list[str]) -> None:
    """Parse a command line down to its last subcommand, and run nothing. Raises click's usage errors."""
    command = compass_command()
    context = None
    name = "compass"
    while True:
        context = command.make_context(name, arguments, parent=context)
        if not hasattr(command, "resolve_command"):
            return
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])


@pytest.mark.parametrize("snippet", list(blocks("python")))
def test_python_imports_and_calls_what_there_is(snippet: Snippet) -> None:
    """A renamed function or argument breaks the first thing that a user copies."""
    tree = ast.parse(snippet.text)
    names: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("compass"):
            module = importlib.import_module(str(node.module))
            names |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        target = names.get(called.id) if isinstance(called, ast.Name) else None
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            owner = compass if called.value.id == "compass" else names.get(called.value.id)
            target = getattr(owner, called.attr) if owner is not None else None
        if target is None or any(isinstance(value, ast.Starred) for value in node.args):
            continue
        try:
            inspect.signature(target).bind(*node.args, **{word.arg: word for word in node.keywords if word.arg})
        except TypeError as error:
            pytest.fail(f"{snippet.place}: {ast.unparse(called)}: {error}")


@pytest.mark.parametrize("page", ["selection.md", "semantic-space.md", "statistics.md", "drift.md"])
def test_computations_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippets that need no model run as they stand, beside a run's space and two files of prompts."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(60, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    SemanticSpace.fit(vectors, ["cy"] * 60, language_removal="none", n_clusters=6, seed=0).save("runs/cy/space")
    rows = "".join(json.dumps({"prompt": f"prompt {i}"}) + "\n" for i in range(60))
    for name in ("usage.jsonl", "prompts.jsonl"):
        Path(name).write_text(rows, "utf-8")
    encoder = SimpleNamespace(encode=lambda texts: vectors[: len(texts)])
    monkeypatch.setattr("compass.encoders.load_encoder", lambda config, cache: encoder)
    snippets = [block.values[0] for block in blocks("python") if block.id.startswith(f"docs/{page}:")]
    assert snippets
    for snippet in snippets:
        exec(compile(snippet.text, snippet.place, "exec"), {})


@pytest.mark.parametrize("snippet", list(blocks("yaml")))
def test_yaml_is_a_file_of_options(snippet: Snippet, tmp_path: Path) -> None:
    """A file in the docs must be one that some command takes as it is."""
    path = tmp_path / "options.yaml"
    path.write_text(snippet.text, "utf-8")
    problems = set()
    for kind in KINDS:
        try:
            load_options(kind, path)
            return
        except ConfigError as error:
            problems |= set(error.problems)
    pytest.fail(f"{snippet.place}: {sorted(problems)}")


@pytest.mark.parametrize("line", list(commands()))
def test_command_parses(line: str) -> None:
    """A flag that is gone stops the command that a user copies."""
    parse(arguments_of(line))


def test_scripts_and_targets_exist() -> None:
    """`python experiments/...` and `make ...` in the docs must name what there is."""
    text = "\n".join(block.values[0].text for block in blocks("sh"))
    text += "\n".join(page.read_text("utf-8") for page in PAGES)
    scripts = set(re.findall(r"((?:experiments|benchmarks)/[\w/.-]+\.(?:py|yaml|md))", text))
    assert [script for script in sorted(scripts) if not (ROOT / script).is_file()] == []
    targets = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.M))
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert targets <= rules


@pytest.mark.parametrize("line", list(mentions()))
def test_mentioned_command_has_its_flags(line: str) -> None:
    command = compass_command()
    for word in (words := arguments_of(line)):
        if word in getattr(command, "commands", {}):
            command = command.commands[word]
        else:
            break
    assert not hasattr(command, "resolve_command") or words[-1] in ("registry",), f"{line}: no such command"
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    asked = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help", "--help-all"}
    assert asked <= flags
