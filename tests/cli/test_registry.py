"""What `compass registry` says; the registry itself is tested in tests/registry."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from commands import Compass
from compass.cli.process import EXIT_DRIFT, EXIT_FAILED
from compass.registry import HeldOut
from run_folders import write_run, write_space


def test_a_run_in_production_is_not_called_candidate(compass: Compass, tmp_path: Path) -> None:
    """Breaks if a run that is added again is said to wait for the gate, and `promote` then finds no candidate."""
    run = str(write_run(tmp_path / "run", write_space(tmp_path / "space")))
    at = ("--registry-dir", str(tmp_path / "registry"))
    for _again in range(2):
        code, out, _ = compass("registry", "add", run, *at)
        assert (code, "is the candidate of cy" in out) == (0, True)
    assert compass("registry", "promote", "cy", *at)[0] == 0
    code, out, _ = compass("registry", "add", run, *at)
    assert (code, "is in production for cy already" in out, "candidate" in out) == (0, True, False)


def test_verify_names_damaged_aliases(compass: Compass, tmp_path: Path) -> None:
    """Breaks if a damaged state.json is passed over, with exit code 0, by the command that looks for damage."""
    at = ("--registry-dir", str(tmp_path / "registry"))
    compass("registry", "add", str(write_run(tmp_path / "run", write_space(tmp_path / "space"))), *at)
    code, out, _ = compass("registry", "verify", "cy", *at)
    assert (code, "intact" in out, "state.json" in out) == (0, True, False)
    (tmp_path / "registry" / "cy" / "state.json").write_text("?", "utf-8")
    code, out, _ = compass("registry", "verify", "cy", *at)
    assert (code, "compass registry repair" in out) == (EXIT_FAILED, True)
    # The command works as it is printed.
    assert compass(*shlex.split(out.split("`")[1])[1:])[0] == 0
    assert compass("registry", "verify", "cy", *at)[0] == 0


def test_verify_names_a_damaged_history_and_a_language_that_is_not_there(compass: Compass, tmp_path: Path) -> None:
    """A nightly check would pass on a mistyped folder, and a repair find nothing to repair from."""
    at = ("--registry-dir", str(tmp_path / "registry"))
    code, out, err = compass("registry", "verify", "cy", *at)
    assert (code, out, "has no version of cy" in err) == (EXIT_FAILED, "", True)
    compass("registry", "add", str(write_run(tmp_path / "run", write_space(tmp_path / "space"))), *at)
    with (tmp_path / "registry" / "cy" / "history.jsonl").open("a") as file:
        file.write("junk\n")
    code, out, _ = compass("registry", "verify", "cy", *at)
    assert (code, "history.jsonl: " in out, "is damaged" in out) == (EXIT_FAILED, True, True)


def test_a_list_names_the_damaged_language_and_shows_the_others(compass: Compass, tmp_path: Path) -> None:
    at = ("--registry-dir", str(tmp_path / "registry"))
    assert "There is no registry at" in compass("registry", "list", *at)[2]
    compass("registry", "add", str(write_run(tmp_path / "run", write_space(tmp_path / "space"))), *at)
    (tmp_path / "registry" / "cy" / "state.json").write_text("?", "utf-8")
    code, out, err = compass("registry", "list", *at, "--json")
    assert (code, [row["language"] for row in json.loads(out)]) == (EXIT_FAILED, ["cy"])
    assert "compass registry repair" in err


def test_a_list_without_what_is_in_production_fails(compass: Compass, tmp_path: Path) -> None:
    """A deployment asks it for the version in production, and would take none for an answer."""
    at = ("--registry-dir", str(tmp_path / "registry"))
    compass("registry", "add", str(write_run(tmp_path / "run", write_space(tmp_path / "space"))), *at)
    compass("registry", "promote", "cy", *at)
    manifest = next((tmp_path / "registry").glob("cy/versions/*/manifest.json"))
    manifest.chmod(0o600)
    manifest.write_text("?", "utf-8")
    code, _, err = compass("registry", "list", *at, "--json")
    assert (code, err.count("manifest.json")) == (EXIT_FAILED, 1)
    compass("registry", "add", str(write_run(tmp_path / "other", tmp_path / "space", seed=1)), *at)
    shutil.rmtree(manifest.parent)
    code, _, err = compass("registry", "promote", "cy", *at)
    assert (code, f"can't compare with {manifest.parent.name}" in err, "--without-gate" in err) == (1, True, True)
    for command in ("list", "verify"):
        code, out, err = compass("registry", command, *at)
        assert (code, f"{manifest.parent.name}: its folder is gone" in out + err) == (EXIT_FAILED, True)


def test_a_status_page_of_no_registry_is_not_written(compass: Compass, tmp_path: Path) -> None:
    page = tmp_path / "status.html"
    code, _, err = compass("registry", "status", "--registry-dir", str(tmp_path / "typo"), "--output", str(page))
    assert (code, "There is no registry at" in err, page.exists()) == (EXIT_FAILED, True, False)


def test_a_repair_says_what_it_can_not_repair(compass: Compass, tmp_path: Path) -> None:
    """A changed line of the history stays one, and `verify` would go on failing for no reason that is told."""
    at = ("--registry-dir", str(tmp_path / "registry"))
    compass("registry", "add", str(write_run(tmp_path / "run", write_space(tmp_path / "space"))), *at)
    compass("registry", "promote", "cy", *at)
    history = tmp_path / "registry" / "cy" / "history.jsonl"
    history.write_text(history.read_text("utf-8").replace('"candidate", ', '"withdraw", '), "utf-8")
    code, out, err = compass("registry", "repair", "cy", *at)
    assert (code, "production: v0001" in out) == (EXIT_FAILED, True)
    assert "Not repaired: history.jsonl" in err
    assert "Restore the file from a backup" in err
    code, out, err = compass("registry", "repair", "cy", "--without-backup", *at)
    assert (code, "is written anew; lost: move 1. The damaged file is kept as history.jsonl.broken" in err) == (0, True)
    assert compass("registry", "verify", *at)[0] == compass("registry", "list", *at)[0] == 0


def test_what_would_be_enough_evidence_is_printed(
    compass: Compass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody would collect rows for months without knowing how many, or what is missing."""
    at = ("--registry-dir", str(tmp_path / "registry"))
    space = write_space(tmp_path / "space")
    for number in (1, 2):
        compass("registry", "add", str(write_run(tmp_path / f"run-{number}", space, seed=number)), *at)
        if number == 1:
            assert compass("registry", "promote", "cy", *at)[0] == 0
            code, _, err = compass("registry", "promote", "cy", "1", *at)
            assert (code, "is in production already. There is nothing to promote" in err) == (EXIT_FAILED, True)
    before, after = np.zeros(30), np.array([1.0] * 2 + [0.0] * 28)
    measured = [HeldOut("cy", "new-usage", before, after), HeldOut("cy-0", "old-usage", before, before)]
    monkeypatch.setattr("compass.recipes.promote.held_out_sets", lambda *_: measured)
    code, out, _ = compass("registry", "promote", "cy", *at)
    said = json.loads(compass("registry", "promote", "cy", *at, "--json")[1])["decision"]["tests"]
    assert code == EXIT_DRIFT
    assert [test["name"] for test in said] == ["cy", "cy-0", "english"]
    assert all(f"\n{test['name']}: {test['more_data']}\n" in out for test in said)
    assert "about 99 rows" in out.casefold()
    assert "nan" not in out.split("Not promoted")[0]


def test_one_verify_looks_at_all_languages(compass: Compass, tmp_path: Path) -> None:
    """A nightly check would have to know the languages, and miss the one that came yesterday."""
    at = ("--registry-dir", str(tmp_path / "registry"))
    code, out, err = compass("registry", "verify", *at)
    assert (code, out, "There is no registry at" in err) == (EXIT_FAILED, "", True)
    space = write_space(tmp_path / "space")
    for language in ("cy", "ne"):
        compass("registry", "add", str(write_run(tmp_path / language, space, language=language)), *at)
    code, out, _ = compass("registry", "verify", *at)
    assert (code, [line.split(": ")[0] for line in out.splitlines()]) == (0, ["cy", "ne"])
    (tmp_path / "registry" / "ne" / "state.json").write_text("?", "utf-8")
    code, out, _ = compass("registry", "verify", *at, "--json")
    found = [(row["language"], bool(row["problems"])) for row in json.loads(out)]
    assert (code, found) == (EXIT_FAILED, [("cy", False), ("ne", False), ("ne", True)])


def test_moves_are_told_to_machines_too(compass: Compass, tmp_path: Path) -> None:
    at = ("--registry-dir", str(tmp_path / "registry"), "--json")
    space = write_space(tmp_path / "space")
    for number in (1, 2):
        run = write_run(tmp_path / f"run-{number}", space, seed=number)
        compass("registry", "add", str(run), *at)
        assert compass("registry", "promote", "cy", "--without-gate", *at)[0] == 0
    code, out, _ = compass("registry", "rollback", "cy", "--reason", "complaints", *at)
    move = json.loads(out)
    assert (code, move["action"], move["reason"]) == (0, "rollback", "complaints")
    assert json.loads(compass("registry", "repair", "cy", *at)[1])["production"] == move["after"]
    pruned = json.loads(compass("registry", "prune", "cy", "--dry-run", *at)[1])
    assert (pruned["removed"], len(pruned["kept"])) == ([], 2)
