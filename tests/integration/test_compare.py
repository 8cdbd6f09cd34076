"""`compass compare` with the real encoder and data and a tiny random model: killed, resumed, enlarged, and failing."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from compass.stats import difference_between_runs
from forked import start_command
from processes import kill_when
from small_data import Files
from tiny_model import make_tiny_model

pytestmark = pytest.mark.integration

Command = Callable[..., subprocess.CompletedProcess[str]]


def arguments(files: Files, output: Path, model: Path, *strategies: str) -> list[str]:
    """Return a grid of the given strategies, two seeds and one budget."""
    sizes = ("--n-clusters", "16", "--lora-r", "4")
    grid = ["--workers", "2", *(part for name in strategies for part in ("--strategies", name))]
    grid += ["--seeds", "0", "--seeds", "1", "--budgets", "24", "--max-retention-rows", "0"]
    more = ("--model-name-or-path", str(model), *sizes, *grid)
    options = files.arguments(output, *more)
    one = options.index("--budget")
    return ["compare", *options[:one], *options[one + 2 :]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grid")


def test_a_killed_comparison_goes_on_and_an_added_strategy_costs_its_own_cells(
    files: Files, compass: Command, environment: dict[str, str], model: Path, output: Path
) -> None:
    """Finished cells keep their files, to the byte and the second, through a kill, a second run and a larger grid."""
    nowhere = Path(os.devnull)
    process = start_command(arguments(files, output, model, "compass", "only-fr"), environment, nowhere, nowhere)
    try:
        kill_when(process, lambda: bool(list(output.glob("cells/*/cell.json"))), group=True)
    finally:
        process.wait()
    kept = {path: path.stat().st_mtime_ns for path in output.glob("cells/*/cell.json")}
    assert 1 <= len(kept) < 4
    assert len(list(output.glob("draws/*/logs/draw.log"))) == 2, "draws are prepared side by side"

    done = compass(*arguments(files, output, model, "compass", "only-fr"), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [(c["strategy"], c["seed"]) for c in result["cells"]] == [
        ("compass", 0), ("only-fr", 0), ("compass", 1), ("only-fr", 1)
    ]  # fmt: skip
    assert len({c["steps"] for c in result["cells"]}) == 1, "every cell has the same optimiser steps"
    rows = pq.read_table(output / "rows.parquet").to_pylist()
    assert len(rows) == 4 * 12
    assert "prompt" not in rows[0]
    (exact,) = (c for c in result["comparisons"] if c["metric"] == "exact")
    assert (exact["strategy"], exact["against"], exact["rows"], exact["units"]) == ("compass", "only-fr", 24, 12)
    assert {c["metric"] for c in result["comparisons"]} == {"exact", "intent", "loss"}
    (loss,) = (c for c in result["comparisons"] if c["metric"] == "loss")
    ours = [row["nats"] / row["bytes"] for row in rows if row["strategy"] == "compass"]
    assert loss["value"] == pytest.approx(sum(ours) / len(ours))
    by_name = {
        name: sorted((row["seed"], row["item"], row["loss"]) for row in rows if row["strategy"] == name)
        for name in ("compass", "only-fr")
    }
    seeds, items, _ = zip(*by_name["compass"], strict=True)
    losses = ([loss for *_, loss in by_name[name]] for name in ("only-fr", "compass"))
    # Both seeds are tested on the same rows, which the test knows (its own tests are in tests/stats).
    _, p_value = difference_between_runs(*losses, seeds, confidence=0.95, units=items)
    assert (loss["runs"], loss["runs_p_value"]) == (2, pytest.approx(p_value))
    (transfer,) = map(json.loads, (output / "transfer_results.jsonl").read_text("utf-8").splitlines())
    assert (transfer["target"], transfer["source"]) == ("cy", "fr")
    assert len(transfer["features"]) >= 12
    page = (output / "report.html").read_text("utf-8")
    assert "Paired differences" in page
    assert "What other draws and seeds may give" in page
    files_before = {path: path.stat().st_mtime_ns for path in output.glob("cells/*/cell.json")}
    assert kept.items() <= files_before.items()

    more = compass(*arguments(files, output, model, "compass", "only-fr", "only-cy", "target-only"), "--json")
    assert "No cell only-cy for cy: its pool has no row in cy" in more.stderr
    assert {c["against"] for c in json.loads(more.stdout)["comparisons"]} == {"only-fr", "target-only"}
    assert more.returncode == 0, more.stderr
    files_after = {path: path.stat().st_mtime_ns for path in output.glob("cells/*/cell.json")}
    assert files_before.items() <= files_after.items()
    assert len(files_after) == 6
    picked = {c["strategy"]: c["picked"] for c in json.loads(more.stdout)["cells"]}
    assert picked == {"compass": 24, "only-fr": 24, "target-only": 0}
    assert not list(output.glob("*/*/eval/*/english*")), "tests in other languages were to be left out"


def test_a_cell_that_fails_does_not_take_the_others_with_it(
    files: Files, compass: Command, model: Path, output: Path
) -> None:
    """Two cells are to be measured again and one can't be: the other is, and the error names the one."""
    again = sorted(path.parent for path in output.glob("cells/*only-fr*/cell.json"))
    for folder in again:
        (folder / "cell.json").unlink()
    (again[0] / "compass.yaml").unlink()
    (again[0] / "compass.yaml").mkdir()
    done = compass(*arguments(files, output, model, "compass", "only-fr", "target-only"), "--json")
    assert done.returncode == 1
    assert "1 of 6 cells failed" in done.stderr
    assert "shows the 5 that are finished" in done.stderr
    assert again[0].name in done.stderr
    assert (again[1] / "cell.json").is_file()
