"""The tutorial's notebook: its cells run from top to bottom, with the tiny model in place of Gemma."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from small_data import Files
from tiny_model import make_tiny_model

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]


def test_no_output_is_kept() -> None:
    """An output in the file is a figure that nobody measured with the code as it is."""
    assert [cell for cell in CELLS if cell.get("outputs") or cell.get("execution_count")] == []


def test_cells_run(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell that raises is the first thing that a new user sees."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPASS_CACHE", str(files.cache))
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(CELLS):
        if cell["cell_type"] != "code":
            continue
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names |= {"MODEL": str(make_tiny_model(tmp_path / "model")), "WORK": tmp_path / "work", "MAX_STEPS": 1}
    printed = capsys.readouterr().out
    assert names["share"] > names["random_share"]
    assert "exact_match" in printed
    assert "120 prompts counted" in printed
    assert names["run"].report.is_file()
