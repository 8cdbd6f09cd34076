"""Folders that version 0.1 made are read, gone on with and built upon: users have them, and can't make them anew."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from frozen import folder_calls as calls
from frozen.near import differ

STORED = Path(__file__).parents[1] / "fixtures" / "v0_1"
FIRST, SECOND, THIRD = "v0001", "v0002", "v0003"
LATER = 1_800_000_000.0
"""When the loop ran, by its clock."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all folders as the working folder, with the encoder that they were made with."""
    copy = tmp_path / "home"
    shutil.copytree(STORED, copy)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    calls.use_stand_in(monkeypatch)
    return copy


def written(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text("utf-8").split("\n") if line]


def lines(path: str) -> list[dict[str, Any]]:
    return written(STORED / path)


def stored_json(path: str) -> Any:
    return json.loads((STORED / path).read_text("utf-8"))


def parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


def number(id: str) -> str:
    return id.partition("-")[0]


def test_nothing_stored_names_a_machine() -> None:
    """A path of the machine that made the folders would tie them to it, and be told to everybody."""
    for file in STORED.rglob("*"):
        if file.is_file():
            assert not re.search(rb"/(tmp|work|home|root)/\w", file.read_bytes()), file
    assert sum(file.stat().st_size for file in STORED.rglob("*") if file.is_file()) < 3 << 20


def test_options_are_read() -> None:
    """Breaks if an option of a stored run is unknown now, or means another value."""
    given = {
        "language": "cy", "usage": "sources/usage.jsonl", "pool": ("sources/pool.jsonl",), "columns": {}, "seed": 0,
        "encoder": "stand-in", "budget": 16, "strategy": "compass", "max_steps": 24, "max_new_tokens": 4, "lora_r": 2,
        "lora_alpha": 4, "averaged_trainings": 2, "learning_rate": 0.05, "cache_dir": "cache",
        "model_name_or_path": "model", "identify_languages": False, "retention_tests": ("sources/english.jsonl",),
    }  # fmt: skip
    found = calls.options(Path("run/compass.yaml"))
    assert {name: found[name] for name in given} == given
    child = calls.options(Path("updated/compass.yaml"))
    assert (child["adapter"], child["averaged_trainings"]) == ("run/adapter", 1)
    for path in Path().rglob("compass.yaml"):
        assert calls.options(path)["language"] == "cy", path
    grid = {"strategies": ("compass", "random"), "budgets": (16,), "languages": ("cy",), "seeds": (0, 1)}
    found = calls.options(Path("compare/compare.yaml"), comparison=True)
    assert {name: found[name] for name in grid} == grid


@pytest.mark.parametrize("folder", ["run", "updated", "updated-ecda", "compare/cells/*-compass-*"])
def test_the_report_is_built_from_the_folder(folder: str) -> None:
    """Breaks if a file of the folder can't be read, or is passed over: the report would have a hole where it was."""
    path = sorted(Path().glob(folder))[0]
    page = calls.report(path)
    picks = lines(f"{path}/selection/selected.jsonl")
    for row in picks:
        assert row["prompt"] in page
    facts = calls.report_facts(path)
    cleaning, tests = stored_json(f"{path}/data/cleaning.json"), stored_json(f"{path}/data/tests.json")
    stages = dict.fromkeys(row["stage"] for row in lines(f"{path}/logs/stages.jsonl"))
    assert facts == {
        "language": "cy",
        "kept": {name: part["kept"] for name, part in cleaning.items()},
        "fertility": len(stored_json(f"{path}/data/fertility.json")),
        "clusters": len(stored_json(f"{path}/space/clusters.json")),
        "answers": [row["name"] for row in parquet(path / "selection" / "answers.parquet")],
        "picks": [row["id"] for row in picks],
        "points": len(parquet(path / "selection" / "map.parquet")),
        "steps": stored_json(f"{path}/training/result.json")["steps"],
        "log": len(lines(f"{path}/training/log.jsonl")),
        "tests": {name: len(lines(f"{path}/data/tests/{name}.jsonl")) for name in sorted(tests)},
        "base": sorted(tests),
        "differences": len(stored_json(f"{path}/eval/differences.json")),
        "stages": list(stages),
    }
    assert facts["answers"]
    assert facts["picks"]


def test_a_finished_run_is_not_run_again() -> None:
    """Breaks if a stage that version 0.1 finished with the same inputs counts as unfinished: a night of training."""
    before = len(lines("run/logs/stages.jsonl"))
    calls.adapt_again(Path("run"))
    new = written("run/logs/stages.jsonl")[before:]
    stages = ["data", "space", "selection", "training", "evaluation-base", "evaluation-adapter"]
    assert [row["stage"] for row in new if row["skipped"]] == stages
    # Version 0.1 made no list of prompts to label, and counted fertility anew each time.
    assert [row["stage"] for row in new if not row["skipped"]] == ["label", "fertility"]
    for name in ("adapter/adapter_model.safetensors", "selection/selected.jsonl", "eval/adapter/cy.json"):
        assert Path("run", name).read_bytes() == (STORED / "run" / name).read_bytes()
    # A lock names more files now.
    hashes = json.loads(Path("run/lock.json").read_text("utf-8"))["hashes"]
    assert hashes.items() >= stored_json("run/lock.json")["hashes"].items()


@pytest.mark.parametrize("key", ["seed", "model"])
def test_picks_stay_only_with_the_seed_and_model_that_they_were_trained_with(key: str) -> None:
    """Breaks if a draw with another seed, or for another model, silently keeps the rows of the one before."""
    lock = stored_json("run/lock.json")
    lock |= {"seed": 5} if key == "seed" else {"model": {"name": "another", "revision": ""}}
    Path("run/lock.json").write_text(json.dumps(lock), "utf-8")
    before = len(lines("run/logs/stages.jsonl"))
    calls.select_again(Path("run"))
    skipped = {row["stage"]: row["skipped"] for row in written("run/logs/stages.jsonl")[before:]}
    assert skipped == {"data": True, "space": True, "selection": False, "label": False}


def test_a_run_is_read_by_an_update() -> None:
    """Breaks if a run's rows are no longer of the period that they were trained in, or its tests are not taken over."""
    first, second, third = (calls.finished_run(Path(name)) for name in ("run", "updated", "updated-ecda"))
    assert [version["period"] for version in (first, second, third)] == [0, 1, 2]
    assert first["tests"] == {"cy": 12, "english": 6}
    assert second["tests"] == {"cy": 12, "cy-0": 12, "english": 6}
    assert third["tests"] == {"cy": 12, "cy-1": 12, "cy-0": 12, "english": 6}
    picks = [[row["id"] for row in lines(f"{name}/selection/selected.jsonl")] for name in ("run", "updated")]
    at_hand = [row["id"] for row in lines("run/data/current.jsonl")]
    expected = [*(f"0/current/{id}" for id in at_hand), *(f"0/picked/{id}" for id in picks[0])]
    assert first["ids"] == expected
    assert set(first["periods"]) == {0}
    assert second["ids"][: len(expected)] == expected
    added = second["ids"][len(expected) :]
    assert added[10:] == [f"1/picked/{id}" for id in picks[1]]
    assert all(id.startswith("1/current/") for id in added[:10])
    assert second["periods"] == [0] * len(expected) + [1] * len(added)
    assert third["ids"][: len(second["ids"])] == second["ids"]
    assert set(third["periods"]) == {0, 1, 2}
    assert {version["encoder"] for version in (first, second, third)} == {"stand-in"}


def test_an_update_goes_on_from_a_stored_one() -> None:
    """Breaks if Fisher information, space, pool or history of a stored version can't be built upon."""
    examples, versions, weights = calls.fisher(Path("updated-ecda/fisher.safetensors"))
    assert versions == 2
    calls.update_again(
        Path("updated-ecda"),
        "next",
        "sources/window.jsonl",
        method="ecda",
        overrides={"max_steps": 1, "budget": 8, "max_test_rows": 2, "max_retention_rows": 2},
    )
    new = calls.finished_run(Path("next"))
    old = calls.finished_run(Path("updated-ecda"))
    assert new["period"] == 3
    assert new["ids"][: len(old["ids"])] == old["ids"]
    assert list(new["tests"]) == ["cy", "cy-2", "cy-1", "cy-0", "english"]
    found = calls.fisher(Path("next/fisher.safetensors"))
    assert found[0] > examples
    assert found[1:] == (3, weights)
    space = "space/space.safetensors"
    assert Path("next", space).read_bytes() == (STORED / "updated-ecda" / space).read_bytes()
    assert calls.periods(Path("next/anchors/anchors.jsonl")) == {0, 1, 2}


@pytest.mark.parametrize("folder", ["run", "updated"])
def test_the_stored_space_places_rows_where_they_were(folder: str) -> None:
    """Breaks if the space is read otherwise than it was written: what is needed, picked and watched would shift."""
    rows = lines(f"{folder}/selection/selected.jsonl")
    rows += lines(f"{folder}/eval/adapter/cy.predictions.jsonl")
    found = calls.clusters_of_texts(Path(folder), [row["prompt"] for row in rows], [row["language"] for row in rows])
    assert found == [row["cluster"] for row in rows]
    assert len(set(found)) > 3


def test_stored_vectors_are_found() -> None:
    """Breaks if the cache is not where it was or is read otherwise: everything would be embedded again."""
    texts = [row["prompt"] for part in ("usage", "current", "pool") for row in lines(f"run/data/{part}.jsonl")]
    assert len(texts) > 200
    assert calls.not_in_cache(Path("run"), [*texts, "lights never seen"]) == ["lights never seen"]


EVALUATIONS = (
    "run/eval/base", "run/eval/adapter", "run/evaluations/adapter", "updated/eval/parent", "updated-ecda/eval/adapter",
    "compare/cells/*/eval/adapter",
)  # fmt: skip


def test_evaluations_are_read() -> None:
    """Breaks if a stored answer, loss, metric or interval is not what was written; the gate decides by them."""
    summaries = [path for folder in EVALUATIONS for path in sorted(Path().glob(f"{folder}/*.json"))]
    assert len(summaries) > 12
    for path in summaries:
        found, summary = calls.evaluation(path), json.loads(path.read_text("utf-8"))
        rows = lines(str(path).replace(".json", ".predictions.jsonl"))
        assert found["answers"] == [row["prediction"] for row in rows]
        assert found["nats"] == [row["nats"] for row in rows]
        assert found["bytes"] == [row["bytes"] for row in rows]
        assert found["rows_left_out"] == summary["rows_left_out"]
        expected = {name: [m["value"], m["low"], m["high"]] for name, m in summary["metrics"].items()}
        assert found["metrics"] == expected
        keys = ("cluster", "rows", "exact_match", "low", "high")
        assert found["by_cluster"] == [[score[key] for key in keys] for score in summary["by_cluster"]]


def test_differences_tasks_and_transfers_are_read() -> None:
    """Breaks if a stored table of differences, an lm-eval result or what `langrank` learns from can't be read."""
    for path in (
        "run/eval/differences.json",
        "updated/eval/differences-parent.json",
        "run/evaluations/differences.json",
    ):
        assert calls.differences(Path(path)) == stored_json(path)
        assert stored_json(path)
    path = "run/evaluations/tasks/base/belebele_cy.json"
    assert calls.task(Path(path)) == stored_json(path)
    assert calls.transfers(Path("sources/transfer_results.jsonl")) == [
        ("cy", "en", 0.4), ("cy", "de", 0.3), ("cy", "fr", 0.25)
    ]  # fmt: skip


def test_the_monitor_goes_on_counting() -> None:
    """Breaks if the database can't be opened, is counted from the start again, or its reference is fitted anew."""
    url = f"sqlite:///{Path('run/monitor/state.db').resolve()}"
    reference = Path("run/monitor/reference")
    asked: dict[str, Any] = {"name": "monitor", "language": "cy", "mode": "redacted", "size": 40}
    before = calls.monitor_memory(reference, url, **asked)
    assert (before["status"]["prompts"], before["status"]["drift"]) == (340, True)
    assert before["status"]["streams"]["cy"]["alarms"] == {"histogram": 250, "vectors": 260}
    assert [(event["kind"], event["test"], event["prompts"]) for event in before["events"]] == [
        ("drift", "histogram", 250), ("drift", "vectors", 260)
    ]  # fmt: skip
    assert before["events"][0]["explanation"]["grew"]
    assert len(before["looks"]) > 8
    assert len(before["kept"]) == 40
    assert set(before["offsets"]) == {"day1.jsonl", "day2.jsonl"}

    reference_bytes = (reference / "reference.safetensors").read_bytes()
    *_, status = calls.monitor_again(Path("run"), "prompts")
    assert (status["event"], status["prompts"], status["new_prompts"]) == ("status", 370, 30)
    *_, status = calls.monitor_again(Path("run"), "prompts")
    assert (status["prompts"], status["new_prompts"]) == (370, 0)
    assert (reference / "reference.safetensors").read_bytes() == reference_bytes
    after = calls.monitor_memory(reference, url, **asked)
    assert after["events"][:2] == before["events"]
    assert after["looks"][: len(before["looks"])] == before["looks"]
    assert set(after["offsets"]) == {"day1.jsonl", "day2.jsonl", "day3.jsonl"}


def test_the_registry_is_read() -> None:
    """Breaks if a version, a move or an event is lost, or a version counts as damaged: nothing could be rolled back."""
    versions = calls.Versions(Path("registry"))
    found = versions.overview("cy")
    assert found["languages"] == ["cy"]
    ids = [version["id"] for version in found["versions"]]
    first, second, third = ids
    assert [number(id) for id in ids] == [FIRST, SECOND, THIRD]
    assert [version["parent"] for version in found["versions"]] == ["", first, first]
    assert [version["trigger"] for version in found["versions"]] == ["adapt", "manual", "drift"]
    assert [version["tests"] for version in found["versions"]][1] == ["cy", "cy-0", "english"]
    assert found["versions"][1]["notes"] == {"ticket": 7}
    assert found["versions"][2]["notes"]["drift"]["alarms"]
    assert found["versions"][2]["left_out"] == ["report.html"]
    assert all(version["files"] > 25 for version in found["versions"])
    assert (found["candidate"], found["production"], found["previous"]) == ("", first, "")
    assert found["history"] == [
        ("candidate", "", first), ("promote", "", first), ("candidate", "", second), ("promote", first, second),
        ("rollback", second, first), ("candidate", "", third), ("withdraw", third, ""),
    ]  # fmt: skip
    assert found["events"] == ["promotion", "drift", "drift", "update", "refusal"]
    assert versions.verdicts("cy") == {"moves": ["promote"], "events": ["promote", "not enough evidence"]}
    assert versions.damaged("cy") == []
    assert [versions.get("cy", name) for name in ("production", "2", "v3", second, third[6:12])] == [
        first, second, third, second, third
    ]  # fmt: skip
    assert versions.difference("cy", "1", "2")
    page = versions.status_page(Path("status.html"))
    assert all(id in page for id in ids)


def test_the_registry_goes_on() -> None:
    """Breaks if a stored version can't be promoted or brought back, or the same run gets another identity."""
    versions = calls.Versions(Path("registry"))
    first, second = (versions.get("cy", name) for name in "12")
    versions.promote("cy", second)
    assert versions.overview("cy")["previous"] == first
    versions.rollback("cy")
    assert versions.overview("cy")["production"] == first
    assert versions.register(Path("run"), "cy") == first
    assert versions.register(Path("updated"), "cy", parent=first) == second
    new = versions.register(Path("updated-ecda"), "cy", parent="2")
    assert number(new) == "v0004"
    found = versions.overview("cy")
    assert [action for action, *_ in found["history"]][7:] == ["promote", "rollback", "candidate", "candidate"]
    assert found["candidate"] == new
    assert versions.damaged("cy") == []


def test_the_watch_loop_goes_on() -> None:
    """Breaks if the loop forgets what it did: it would count again, update again, or start anew on its reference."""
    first = calls.Versions(Path("registry")).get("cy", "1")
    state = calls.watch_state("watch", "cy")
    assert re.fullmatch(r"[0-9a-f]{8}-", state["born"])
    assert (state["number"], len(state["starts"]), state["watched"], state["pending"]) == (1, 1, first, None)
    assert state["starts"][0] < state["ended"]
    assert LATER < state["told"] < state["ended"] < LATER + 1
    url = f"sqlite:///{Path('watch/cy/monitor.db').resolve()}"
    reference = Path("watch/cy/references", first, "monitor/reference")
    memory = calls.monitor_memory(reference, url, name="watch-cy", language="cy", mode="full", size=120)
    assert (memory["status"]["prompts"], len(memory["kept"])) == (370, 120)
    assert [event["kind"] for event in memory["events"]] == ["drift", "drift"]

    ticks = itertools.count(1)
    events = calls.watch_again("watch", "cy", "prompts", lambda: LATER + 60 + next(ticks) / 1000)
    # The quiet period stands, and nobody is told of the old drift again.
    assert [event["event"] for event in events] == ["status"]
    assert (events[-1]["prompts"], events[-1]["drift"], events[-1]["version"]) == (370, True, first)
    assert len(calls.Versions(Path("registry")).overview("cy")["events"]) == 5


def test_a_pending_update_is_brought_to_its_end() -> None:
    """Breaks if an update that was begun before the new version was installed is lost, or promoted or told twice."""
    versions = calls.Versions(Path("registry"))
    first, third = (versions.get("cy", name) for name in "13")
    pending = calls.watch_state("watch-pending", "cy")["pending"]
    assert (pending["number"], pending["parent"], pending["version"], pending["decision"]) == (1, first, third, None)
    assert pending["drift"]["alarms"]
    ticks = itertools.count(1)
    events = calls.watch_again("watch-pending", "cy", "prompts", lambda: LATER + 60 + next(ticks) / 1000)
    assert [event["event"] for event in events][:2] == ["update", "refusal"]
    assert (events[1]["version"], events[1]["decision"]["verdict"]) == (third, "not enough evidence")
    assert (events[-1]["event"], events[-1]["prompts"]) == ("status", 370)
    found = versions.overview("cy")
    assert (found["production"], len(found["events"])) == (first, 5)
    assert calls.watch_state("watch-pending", "cy")["pending"] is None


def test_a_comparison_is_built_from_its_finished_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a finished cell counts as missing, or says something else: a night of trainings, or another table."""

    def refuse(*_given: Any, **_more: Any) -> None:
        raise AssertionError("a cell is run again")

    monkeypatch.setattr("subprocess.Popen", refuse)
    monkeypatch.setattr("compass.training.train", refuse, raising=False)
    results = ("rows.parquet", "cells.parquet", "comparisons.json")
    for name in results:
        Path("compare", name).unlink()
    page = calls.compare_again(Path("compare"))
    assert "random" in page
    for name in results[:2]:
        now = parquet(Path("compare", name))
        # A column that came later, of which these trainings know nothing.
        assert {row.pop("response_loss", None) for row in now} == {None}
        assert differ(now, parquet(STORED / "compare" / name)) == []
    found = json.loads(Path("compare/comparisons.json").read_text("utf-8"))
    assert differ(found, stored_json("compare/comparisons.json")) == []
    assert [row["metric"] for row in found] == ["exact", "intent", "loss"]
    for kind in ("cells", "draws"):
        assert sorted(path.name for path in Path("compare", kind).iterdir()) == sorted(
            path.name for path in (STORED / "compare" / kind).iterdir()
        )
