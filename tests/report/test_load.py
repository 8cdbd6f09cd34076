"""Reading a run folder."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from compass.errors import RunError
from compass.report.load import load_run


def test_a_run_is_read_whole(run_folder: Path) -> None:
    """Would break if a file of the folder were read under another name or field than it was written."""
    run = load_run(run_folder)
    assert (run.options["language"], run.options["strategy"], run.options["encoder"]) == ("cy", "compass", "embedded")
    assert [pick.rank for pick in run.picks] == list(range(1, 241))
    assert sorted(run.base) == sorted(run.adapter) == ["english", "german", "usage"]
    assert run.adapter["usage"].metrics["exact_match"].value == 0.34
    assert len(run.adapter["usage"].answers) == 120
    assert [d.cluster for d in run.differences] == [None] * 15 + [2]
    demand = pq.read_table(run_folder / "selection" / "clusters.parquet").column("demand").to_pylist()
    assert [cluster.demand for cluster in run.clusters] == demand
    assert [(kind.quota, kind.picked) for kind in run.classes] == [(220, 219), (20, 20), (0, 1)]
    assert [stage.stage for stage in run.stages][-1] == "report"


def test_options_may_be_flat(selected_folder: Path) -> None:
    """Would break if a flat file lost its options, or the option `encoder` were taken for the section."""
    (selected_folder / "compass.yaml").write_text("language: ne\nencoder: embedded\ncolumns: {prompt: q}\n", "utf-8")
    options = load_run(selected_folder).options
    assert options == {"language": "ne", "encoder": "embedded", "columns": {"prompt": "q"}}


def test_the_audit_serves_where_texts_are_not_kept(selected_folder: Path) -> None:
    """Would break if a folder without selected.jsonl showed no picked rows."""
    import pyarrow as pa

    rows = [json.loads(line) for line in (selected_folder / "selection" / "selected.jsonl").read_text().split("\n")[:9]]
    (selected_folder / "selection" / "selected.jsonl").unlink()
    for row in rows:
        del row["prompt"], row["response"]
    pq.write_table(pa.Table.from_pylist(rows), selected_folder / "selection" / "audit.parquet")
    picks = load_run(selected_folder).picks
    assert [pick.id for pick in picks] == [row["id"] for row in rows]
    assert {pick.prompt for pick in picks} == {""}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lock.json", "{", r"lock\.json can't be read as JSON"),
        ("lock.json", "[]", r"lock\.json must hold a JSON dict; it holds a list"),
        ("selection/selected.jsonl", '{"rank": 1', r"selected\.jsonl:1 is not JSON"),
        ("selection/selected.jsonl", "[]", r"selected\.jsonl:1 must hold a JSON object"),
        ("lock.json", "[" * 100_000, r"lock\.json can't be read as JSON"),
        ("selection/selected.jsonl", '{"rank": 1}', r"selected\.jsonl: row 1 lacks the field 'score'"),
        ("selection/summary.json", '{"notes": []}', r"summary\.json: row 1 does not fit"),
        ("selection/map.parquet", "nonsense", r"map\.parquet cannot be read as Parquet"),
        ("compass.yaml", "a: [", r"^The options file \S+compass\.yaml:1 is not valid YAML: .*Restore the file"),
        ("compass.yaml", "- a", r"compass\.yaml must hold `name: value` lines; it holds a list\. Restore the file"),
        ("compass.yaml", "a: \x00", r"^The options file \S+compass\.yaml:1 is not valid YAML: [^\n]*Restore the file"),
    ],
)
def test_a_broken_file_is_named(selected_folder: Path, name: str, content: str, message: str) -> None:
    """Would break if a broken file ended in a traceback, or in a report that silently lacks a section."""
    (selected_folder / name).write_text(content, "utf-8")
    with pytest.raises(RunError, match=message):
        load_run(selected_folder)
