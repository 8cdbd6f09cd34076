"""From a run to production, to an update that the gate looks at, and back: the commands as a user types them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from small_data import Files
from tiny_model import make_tiny_model

pytestmark = pytest.mark.integration

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_versions_go_into_production_and_back(files: Files, compass: Command, tmp_path: Path) -> None:
    """Breaks if a command's output, exit code or effect on the aliases is wrong; the model is tiny and random."""
    model = make_tiny_model(tmp_path / "model")
    first, second = tmp_path / "first", tmp_path / "second"
    tiny = ("--model-name-or-path", str(model), "--lora-r", "4", "--n-clusters", "16")
    assert compass("adapt", *files.arguments(first, *tiny)).returncode == 0
    at = ("--registry-dir", str(tmp_path / "registry"))

    added = json.loads(compass("registry", "add", str(first), *at, "--json").stdout)
    assert compass("registry", "promote", "cy", *at).returncode == 0, "a first version has nothing to be compared with"

    watched = compass("monitor", str(first), str(files.folder / "usage.jsonl"), "--json")
    assert watched.returncode == 0, watched.stderr
    assert json.loads(watched.stdout.splitlines()[-1])["prompts"] == 36
    again = compass("monitor", str(first), str(files.folder / "usage.jsonl"), "--json")
    assert json.loads(again.stdout.splitlines()[-1])["prompts"] == 36, "what was counted is not counted again"

    nowhere = compass("update", str(first), str(files.folder / "test.jsonl"))
    assert nowhere.returncode == 2
    assert "--output-dir" in nowhere.stderr
    sizes = ("--budget", "16", "--max-steps", "1", "--fisher-rows", "8")
    updated = compass(
        "update", str(first), str(files.folder / "usage.jsonl"), "--new-data", str(files.folder / "current.jsonl"),
        "--new-test", str(files.folder / "test.jsonl"), "--output-dir", str(second), *sizes, "--json",
    )  # fmt: skip
    assert updated.returncode == 0, updated.stderr
    command = json.loads((second / "lock.json").read_text("utf-8"))["command"]
    assert command.startswith(f"compass update {first} {files.folder / 'usage.jsonl'} --new-data ")
    assert command.endswith(f"--output-dir {second} --budget 16 --max-steps 1 --fisher-rows 8")
    names = {row["name"] for row in json.loads(updated.stdout)["differences"]}
    assert names == {"cy", "cy-0", "english"}

    newer = json.loads(compass("registry", "add", str(second), "--parent", "production", *at, "--json").stdout)
    assert newer["parent"] == added["id"]
    wrong = compass("registry", "promote", "cy", *at, "--gate-level", "2", "--tolerance", "english=many")
    assert wrong.returncode == 2
    assert "gate_level must be at most 0.5" in wrong.stderr
    assert "tolerance must be a number" in wrong.stderr
    refused = compass("registry", "promote", "cy", *at, "--json")
    assert refused.returncode == 3, refused.stderr
    decision = json.loads(refused.stdout)["decision"]
    assert decision["verdict"] == "not enough evidence", "twelve rows prove nothing"
    assert {row["role"] for row in decision["tests"]} == {"new-usage", "old-usage", "english"}
    listed = {row["version"]: row["alias"] for row in json.loads(compass("registry", "list", *at, "--json").stdout)}
    assert listed == {added["id"]: "production", newer["id"]: "candidate"}

    assert compass("registry", "promote", "cy", "--without-gate", "--reason", "by hand", *at).returncode == 0
    assert newer["id"] in compass("registry", "list", *at).stdout
    assert added["id"] in compass("registry", "rollback", "cy", *at).stdout
    assert compass("registry", "verify", "cy", *at).returncode == 0
    changed = json.loads(compass("registry", "diff", "cy", added["id"], newer["id"], *at).stdout)
    assert any(row["name"].endswith("budget") for row in changed["config"])
    page = tmp_path / "status.html"
    assert compass("registry", "status", *at, "--output", str(page)).returncode == 0
    assert newer["id"] in page.read_text("utf-8")

    (tmp_path / "registry" / "cy" / "state.json").unlink()
    lost = compass("registry", "rollback", "cy", *at)
    assert lost.returncode == 1
    assert f"`compass registry repair cy --registry-dir {tmp_path / 'registry'}`" in lost.stderr
    assert f"production: {added['id']}" in compass("registry", "repair", "cy", *at).stdout

    weights = next((tmp_path / "registry").rglob(f"{newer['id']}/run/adapter/adapter_model.safetensors"))
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    damaged = compass("registry", "verify", "cy", *at)
    assert damaged.returncode == 1
    assert "adapter_model.safetensors" in damaged.stdout
    missing = compass("registry", "show", "cy", "v9999", *at)
    assert missing.returncode == 1
    assert "v9999" in missing.stderr
