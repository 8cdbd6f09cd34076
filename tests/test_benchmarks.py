"""The page of benchmarks: what scripts print is read as it is printed, and what was measured is drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(HERE))
    import run

    return run


def test_figures_are_read_from_what_the_scripts_print(run: Any) -> None:
    """Breaks if a figure of the page is another than the one measured."""
    printed = (
        "place: 3.0 s (2.5 s of a processor), peak 0.21 GiB\ncompass: 9.1 s (8.0 s of a processor), peak 0.26 GiB\n"
    )
    assert run.from_steps(printed) == {
        "place seconds": 2.5, "place GiB": 0.21, "compass seconds": 8.0, "compass GiB": 0.26
    }  # fmt: skip
    assert run.from_json('{"rows": 3, "threads": "1", "rates": [1]}') == {"rows": 3.0}
    assert run.from_redaction("a\nreport: recall 0.970, precision 0.950; {}\n") == {"recall": 0.97, "precision": 0.95}


def test_the_page_shows_what_was_measured(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a slope, a ratio or a range is not that of the results, or if the chart is no SVG."""
    sizes = {"pool": 0, "clusters": 100, "dimensions": 384, "languages": 30, "usage": 300, "budget": 300}
    costs = [
        {
            "factor": "pool",
            "size": sizes | {"pool": n},
            "seed": 0,
            "costs": {"nearest": {"seconds": n / 1e5, "gib": 0.3}},
        }
        for n in (10_000, 30_000, 100_000)
    ]
    peers = [
        {"job": "reading", "name": name, "rows": 1000, "seconds": seconds, "gib": 0.1, "said": {"rows": 1000.0}}
        for name, seconds in (("compass", 2.0), ("datatrove", 3.0), ("another", 0.5))
    ]
    figures = {"monitor": {"vectors_per_cpu_second": {"median": 2000.0, "low": 1900.0, "high": 2100.0, "runs": 3}}}
    trainers = [
        {"by": by, "steps": 30, "seconds_a_step": seconds, "gib": 2.0, "loss": [4.0] * 5 + [1.0] * 5}
        for by, seconds in (("compass", 1.0), ("compass", 2.0), ("trl", 6.0))
    ]
    for name, rows in (("costs", costs), ("peers", peers), ("trainers", trainers)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (tmp_path / "benchmarks.json").write_text(json.dumps({"figures": figures, "machine": {"cores": "2"}}), "utf-8")
    page = tmp_path / "performance.md"
    monkeypatch.setattr(sys, "argv", ["run.py", "--output", str(tmp_path), "--page", str(page)])
    run.main()
    text = page.read_text("utf-8")
    assert "| nearest | 0.10 | 0.30 | 1.00 | 1.00 | 0.30 |" in text
    assert "| reading | 1,000 | datatrove | 3.00 | 1.50 | 0.10 | rows 1,000 |" in text
    assert "| trl | 1 | 6.00 | 4.00 | 2.00 | 4.00, 1.00 |" in text
    assert "Faster than ours on reading: another, in 0.25 of the time." in text
    assert "| prompts a second, embedded already | 2,000 (1,900–2,100) |" in text
    assert ElementTree.parse(page.with_suffix(".svg")).getroot().tag.endswith("svg")
