"""What commands print: plans and results, for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import Compass
from compass.cli.printing import print_comparisons, print_differences, print_inspected, print_json
from compass.cli.process import EXIT_FAILED
from compass.recipes.adapt import Adapted
from compass.records import Comparison, Difference, Interval
from compass.steps.inspect import Inspected, Lengths
from compass.steps.plan import _to_embed, _to_evaluate
from small_data import Files


def test_results_are_json_whatever_they_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Other programs refuse NaN and Infinity, which are no JSON."""
    print_json({"value": float("nan"), "rows": [float("-inf"), 1.5], "text": "NaN"})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "value": None, "rows": [None, 1.5], "text": "NaN"
    }  # fmt: skip


def test_a_dry_run_prints_the_plan_and_writes_nothing(compass: Compass, tmp_path: Path) -> None:
    code, out, _ = compass(
        "adapt",
        "--output-dir",
        str(tmp_path / "run"),
        "--cache-dir",
        str(tmp_path / "c"),
        "--dry-run",
        "--json",
    )
    assert code == 0
    steps = {step["step"]: step for step in json.loads(out)}
    assert list(steps) == ["data", "embedding", "space", "selection", "training", "evaluation", "report"]
    assert "usage 36, training data 72" in steps["data"]["what"]
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_a_project_plans_the_languages_that_it_can(compass: Compass, tmp_path: Path) -> None:
    """One missing source hid the plan of all others, and the message named neither language nor line."""
    file = tmp_path / "compass.yaml"
    file.write_text(
        f"output_dir: {tmp_path / 'runs'}\ncache_dir: {tmp_path / 'c'}\n"
        "languages:\n  cy:\n  el:\n    usage: nowhere.jsonl\n"
    )
    code, out, err = compass("adapt", "--config", str(file), "--dry-run")
    assert (code, "cy:\n" in out, "el:\n" in out) == (EXIT_FAILED, True, False)
    assert f"{file}:5: el would fail: " in err
    assert "nowhere.jsonl" in err
    code, out, _ = compass("adapt", "--config", str(file), "--dry-run", "--json")
    told = json.loads(out)
    assert (code, len(told["cy"]), "nowhere.jsonl" in told["el"]["error"]) == (EXIT_FAILED, 7, True)


SOURCES = (("usage", "usage"), ("train", "current"), ("pool", "pool"), ("test", "test"))


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        (("--budget", "100"), "about 220 rows, 2 epochs, 56 steps"),
        (("--budget", "2000", "--budget-unit", "tokens"), "about 220 rows, 2 epochs"),
        (("--budget", "999999"), " rows, 2 epochs"),
        (("--budget", "auto"), " rows, 2 epochs"),
        (("--strategy", "target-only"), "about 120 rows, 2 epochs"),
        (("--max-steps", "10"), "10 steps"),
    ],
)
def test_a_dry_run_counts_what_will_be_seen(
    compass: Compass, files: Files, tmp_path: Path, arguments: tuple[str, ...], rows: str
) -> None:
    """Tokens taken for rows, or a budget beyond the pool, would promise minutes and take hours, or the other way."""
    sources = (f"--{name}={files.folder}/{file}.jsonl" for name, file in SOURCES)
    where = ("--output-dir", str(tmp_path / "run"))
    code, out, _ = compass("adapt", *where, "--dry-run", "--json", *sources, *arguments)
    assert code == 0
    (training,) = (step for step in json.loads(out) if step["step"] == "training")
    assert rows in training["what"]
    counted = int(training["what"].split("about ")[1].split()[0])
    assert counted < 700, "the pool has fewer rows"


def test_the_tests_of_the_embedded_data_can_be_named(compass: Compass, tmp_path: Path) -> None:
    """`assist` was looked for as a file where it was asked for by name."""
    code, out, _ = compass("adapt", "--output-dir", str(tmp_path / "run"), "--test", "assist", "--dry-run", "--json")
    assert code == 0
    assert "tests: cy 150" in json.loads(out)[0]["what"]


def test_a_result_is_json_for_machines_and_lines_for_people(
    compass: Compass, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A script would meet a table, or a person would have to look for the report."""
    row = {"name": "cy", "metric": "exact", "base": 0.1, "adapter": 0.3, "difference": 0.2, "low": 0.1, "high": 0.3}
    done = Adapted(Path("run"), Path("run/adapter"), Path("run/report.html"), {}, (Difference.from_dict(row),))
    monkeypatch.setattr("compass.recipes.adapt.adapt", lambda _: done)
    monkeypatch.chdir(tmp_path)
    _, out, _ = compass("adapt", "--output-dir", "run", "--json")
    assert json.loads(out) == {
        "run": "run", "adapter": "run/adapter", "report": "run/report.html", "differences": [row]
    }  # fmt: skip
    _, out, _ = compass("adapt", "--output-dir", "run")
    assert "+0.200" in out
    assert out.splitlines()[-1] == f"report: {tmp_path / 'run' / 'report.html'}"


def test_metrics_have_their_titles(capsys: pytest.CaptureFixture[str]) -> None:
    """The table said `chrf` and `rouge l`, the report chrF and ROUGE-L."""
    interval = Interval(0.1, 0.0, 0.2)
    names = ("chrf", "token_f1", "rouge_l", "of_my_own")
    print_differences([Difference("cy", name, 0.1, 0.2, interval) for name in names])
    out = capsys.readouterr().out
    assert all(title in out for title in ("chrF", "Token F1", "ROUGE-L", "of my own"))


def test_an_inspected_source_reads_as_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    """A file of any kind was said to be `read as pool`."""
    lengths = Lengths("tokens", 3, 5, 9, 12, 10, 1, "a.jsonl, line 3")
    print_inspected(
        Inspected("a.jsonl", "pool", "prompt", 3, {"prompt": "prompt"}, (), {"cy": 3}, {"user": 3}, (), lengths)
    )
    out = capsys.readouterr().out
    assert "3 rows, shape prompt, read as prompts with responses" in out
    assert "per row: median 5, 95th percentile 9, longest 12; 1 above max_length (10)" in out


@pytest.mark.parametrize(("missing", "said"), [(9, "9 texts"), (2, "2 of 9 texts; the others are in the cache")])
def test_texts_to_embed(missing: int, said: str) -> None:
    assert _to_embed(missing, 9) == said


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        (0, "none: no held-out row has a response"),
        (1, "base and adapter on 1 test"),
        (2, "base and adapter on 2 tests"),
    ],
)
def test_tests_to_evaluate(tests: int, said: str) -> None:
    """The plan of a run without a test set promised an evaluation on 0 tests, of one on `1 tests`."""
    assert _to_evaluate(tests) == said


def test_a_comparison_prints_titles_and_no_p_of_zero(capsys: pytest.CaptureFixture[str]) -> None:
    """The table said `token_f1` and p = 0.000, which no permutation test can show."""
    interval = Interval(0.1, 0.0, 0.2)
    shared = {"budget": 12, "language": "cy", "strategy": "nearest", "against": "random", "rows": 9, "units": 9,
              "value": 0.2, "other": 0.1, "interval": interval, "p_value": 0.0001, "p_holm": 0.0001, "cohens_d": 1.0,
              "detectable": 0.1, "runs": 2, "between_runs": interval, "runs_p_value": 0.3, "runs_p_holm": 0.3,
    }  # fmt: skip
    print_comparisons([Comparison(metric=name, **shared) for name in ("loss", "token_f1", "exact", "of_my_own")])
    out = capsys.readouterr().out
    assert all(word in out for word in ("Loss per byte", "Token F1", "Exact match", "of my own", "< .001", ".300"))
    assert "0.000 " not in out


def test_a_bad_source_takes_nothing_from_those_before_it(compass: Compass, tmp_path: Path) -> None:
    """One broken file of four left the other three unsaid."""
    good = tmp_path / "good.jsonl"
    good.write_text('{"prompt": "p", "response": "r"}\n', "utf-8")
    code, out, err = compass("inspect", str(good), str(tmp_path / "missing.jsonl"))
    assert code == 2
    assert "good.jsonl: 1 row," in out
    assert "no such file" in err
