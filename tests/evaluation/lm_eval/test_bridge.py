"""lm-eval's tasks through our path, against lm-eval's own command."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compass.config import AdaptConfig, EvaluationConfig, RunConfig, TaskOptions, TasksConfig, TrainingConfig
from compass.data.example import Example
from compass.errors import ConfigError, DataError, MissingExtraError
from compass.evaluation.files import read_task, write_task
from compass.evaluation.lm_eval.bridge import TaskMetric, TaskResult, TaskSample, compare_tasks, run_tasks, usage_rows
from compass.evaluation.lm_eval.local_tasks import make_tasks
from compass.recipes.evaluate import evaluate_tasks
from compass.training.models import BaseModel
from forked import run_script
from tiny_model import make_tiny_model

THEIRS = Path(__file__).with_name("their_command.py")

needs_lm_eval = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-eval is not installed: pip install 'compass-peft[lm-eval]'",
)
# lm-eval and the libraries under it warn of each other's old names; none of that is about our code.
quiet = pytest.mark.filterwarnings("ignore")


def questions(n: int, seed: int) -> list[dict[str, Any]]:
    """Return Global-MMLU-like rows whose answers a random model gets right about one time in four."""
    rng = np.random.default_rng(seed)
    return [
        {
            "sample_id": f"law/test/{i}",
            "subject": ("law", "sociology")[i % 2],
            "question": f"Swali la {seed} {rng.integers(1000)} je, {i} ni nini?",
            **{f"option_{letter}": f"jibu {rng.integers(100)}" for letter in "abcd"},
            "answer": "ABCD"[rng.integers(4)],
            "cultural_sensitivity_label": ("CS", "CA", "-")[i % 3],
        }
        for i in range(n)
    ]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
    return BaseModel(str(folder), str(folder), "local", "")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `quiz` and its halves, the same with examples, and sums."""
    folder = tmp_path_factory.mktemp("tasks")
    source = write(folder / "rows.jsonl", questions(24, 0))
    make_tasks(source, folder, name="quiz", template="letters")
    make_tasks(source, folder, name="quiz_by", template="letters", by="subject")
    make_tasks(source, folder, name="quiz_1", template="letters", fewshot=questions(2, 1), num_fewshot=1)
    sums = [{"id": str(i), "prompt": f"{i} + {i} ni?", "response": str(2 * i)} for i in range(3)]
    write(folder / "sums.in.jsonl", sums)
    make_tasks(str(folder / "sums.in.jsonl"), folder, name="sums", template="number")
    return folder


def options(base: BaseModel, tasks: Path, output: Path, adapter: str = "", **more: Any) -> TaskOptions:
    return TaskOptions(
        AdaptConfig(
            run=RunConfig(output_dir=str(output), seed=3),
            training=TrainingConfig(model_name_or_path=base.path, adapter=adapter, dtype="float32"),
            evaluation=EvaluationConfig(),
        ),
        tasks=TasksConfig(include_path=str(tasks), task_batch_size=4, **{"num_fewshot": -1} | more),
    )


@pytest.fixture(scope="module")
def adapter(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An adapter that was trained far enough to change answers."""
    from compass.training import train

    rows = [Example(id=str(i), prompt=f"Swali {i}?\nAnswer:", response=" B", language="sw") for i in range(16)]
    config = TrainingConfig(max_steps=8, learning_rate=0.05, lora_r=4, dtype="float32", max_length=64)
    return str(train(rows, base=base, config=config, output_dir=tmp_path_factory.mktemp("run"), seed=0).adapter)


@needs_lm_eval
@quiet
def test_our_accuracy_is_that_of_lm_evals_own_command(
    base: BaseModel, tasks: Path, adapter: str, tmp_path: Path
) -> None:
    """Another model, prompt, choice or way of averaging would give other scores of rows and tasks."""
    names = ["quiz", "quiz_1", "quiz_by", "sums"]
    results, differences = evaluate_tasks(options(base, tasks, tmp_path / "ours", adapter), names)
    command = [
        "run", "--model", "hf", "--model_args", f"pretrained={base.path},peft={adapter},dtype=float32",
        "--tasks", *names, "--include_path", str(tasks), "--batch_size", "4", "--device", "cpu", "--seed", "3",
        "--log_samples", "--output_path", str(tmp_path / "theirs"),
    ]  # fmt: skip
    done = run_script(THEIRS, command, os.environ | {"HF_HUB_OFFLINE": "1"}, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    (summary,) = tmp_path.glob("theirs/**/results_*.json")
    theirs = json.loads(summary.read_text("utf-8"))["results"]
    ours = {result.task: result for result in results["adapter"]}
    assert {"quiz", "quiz_1", "quiz_by", "quiz_by_law", "quiz_by_sociology", "sums"} <= ours.keys()
    for name, result in ours.items():
        whole = [metric for metric in result.metrics if not metric.part]
        assert whole
        for metric in whole:
            assert metric.value == theirs[name][f"{metric.name},{metric.filter}"]
            stderr = theirs[name][f"{metric.name}_stderr,{metric.filter}"]
            assert metric.stderr == pytest.approx(stderr, abs=1e-12)
    (logged,) = tmp_path.glob("theirs/**/samples_quiz_1_*.jsonl")
    rows = [json.loads(line) for line in logged.read_text("utf-8").split("\n") if line]
    assert [sample.scores["acc"] for sample in ours["quiz_1"].samples] == [row["acc"] for row in rows]
    assert ours["quiz_1"].num_fewshot == 1
    assert 0 < ours["quiz"].metric("acc").value < 1, "a score of all or nothing would agree by chance"

    base_quiz = next(result for result in results["base"] if result.task == "quiz")
    assert [s.scores["acc"] for s in base_quiz.samples] != [s.scores["acc"] for s in ours["quiz"].samples]
    (found,) = (d for d in differences if (d.name, d.metric) == ("quiz", "acc"))
    assert found.interval.value == pytest.approx(ours["quiz"].metric("acc").value - base_quiz.metric("acc").value)
    (found,) = (d for d in differences if (d.name, d.metric) == ("quiz_by", "acc"))
    assert found.base == pytest.approx(base_quiz.metric("acc").value), "a group is compared over all its rows"
    assert ours["quiz_by"].metric("acc").rows == 24
    assert read_task(tmp_path / "ours" / "evaluations" / "tasks" / "adapter" / "quiz.json") == ours["quiz"]
    assert "jibu" not in (tmp_path / "ours" / "evaluations" / "tasks" / "adapter" / "quiz.json").read_text("utf-8")


@needs_lm_eval
@quiet
def test_halves_by_cultural_sensitivity_are_those_of_their_own_tasks(
    base: BaseModel, tasks: Path, tmp_path: Path
) -> None:
    """The two halves are reported apart, once from the whole task's samples and once as tasks: they must agree."""
    results, differences = evaluate_tasks(options(base, tasks, tmp_path), ["quiz", "quiz_cs", "quiz_ca"])
    quiz, cs, ca = (next(r for r in results["base"] if r.task == name) for name in ("quiz", "quiz_cs", "quiz_ca"))
    assert not differences
    for half, part in ((cs, "CS"), (ca, "CA")):
        whole, apart = half.metric("acc"), quiz.metric("acc", part=part)
        assert (whole.value, whole.rows) == (apart.value, apart.rows)
        assert apart.rows == 8
        assert whole.stderr == pytest.approx(apart.stderr)
    assert [sample.id for sample in cs.samples] == [f"law/test/{i}" for i in range(0, 24, 3)]


@needs_lm_eval
@quiet
def test_few_shot_rows_out_of_the_usage_sample_are_refused(base: BaseModel, tasks: Path, tmp_path: Path) -> None:
    """Rows that chose the training data would be given as examples with their answers."""
    config = options(base, tasks, tmp_path / "run")
    usage = write(tmp_path / "dev.jsonl", questions(2, 1) + questions(2, 7))
    data = replace(config.adapt.data, usage=usage, language="sw")
    seen = replace(config, adapt=replace(config.adapt, data=data))
    with pytest.raises(DataError, match=r"quiz_1: 2 of its few-shot rows are in the usage sample"):
        evaluate_tasks(seen, ["quiz", "quiz_1"])
    none = replace(seen, tasks=replace(seen.tasks, num_fewshot=0, limit=2))
    results, _ = evaluate_tasks(none, ["quiz_1"])
    assert (results["base"][0].num_fewshot, len(results["base"][0].samples)) == (0, 2)


@needs_lm_eval
@quiet
def test_an_unknown_task_is_refused_with_the_nearest(
    tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All wrong names come at once, before the data of any task is fetched."""
    # One of lm-eval's own 14,000 tasks, whose index takes seconds to read.
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "sw.yaml").write_text("task: global_mmlu_full_sw\ndataset_path: json\noutput_type: multiple_choice\n")
    monkeypatch.setattr("lm_eval.tasks.manager.__file__", str(theirs / "manager.py"))
    with pytest.raises(ConfigError, match=r"'quizz'; did you mean .*quiz") as caught:
        run_tasks(None, ["quiz", "quizz", "global_mmlu_full_xx"], include_path=tasks)
    assert len(caught.value.problems) == 2
    assert "global_mmlu_full_sw" in str(caught.value)
    with pytest.raises(DataError, match="not a folder of tasks"):
        run_tasks(None, ["quiz"], include_path=tmp_path / "none")


def test_without_lm_eval_the_pip_line_is_named(monkeypatch: pytest.MonkeyPatch, base: BaseModel) -> None:
    """A user would get an ImportError out of nowhere."""
    from compass.training import harness_model

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for call in (lambda: run_tasks(None, ["quiz"]), lambda: harness_model(base)):
        with pytest.raises(MissingExtraError, match=r"pip install 'compass-peft\[lm-eval\]'"):
            call()


def test_usage_is_found_with_and_without_choices() -> None:
    """The usage prompt holds the choices and lm-eval's row does not; a subject must not count as a question."""
    usage = ["Je, mji mkuu ni upi?\nA. Dodoma\nB. Nairobi", "sociology is what?"]
    docs = [
        {"question": "Je, mji  mkuu ni upi?", "answer": "A"},
        {"question": "Je, mto mkuu ni upi?", "subject": "sociology"},
        {"text": "Je, mji mkuu ni upi?\nA. Dodoma\nB. Nairobi"},
    ]
    assert usage_rows(docs, usage) == [0, 2]


def test_figures_of_a_model_that_diverged_are_kept(tmp_path: Path) -> None:
    """Hours of a task would end in an error as its result is written."""
    sample = TaskSample(0, "", "hash", "none", {"acc": math.nan})
    written = TaskResult("quiz", "1", 0, (TaskMetric("bits", "none", math.inf, math.nan, rows=1),), (sample,))
    read = read_task(write_task(written, tmp_path))
    assert math.isnan(read.metrics[0].value)
    assert math.isnan(read.samples[0].scores["acc"])


def test_other_rows_are_not_compared(tmp_path: Path) -> None:
    """A paired difference over rows that are not the same says nothing."""
    rows = [TaskSample(i, "", f"hash {i}", "none", {"acc": float(i)}) for i in range(2)]
    metric = TaskMetric("acc", "none", 0.5, math.nan, rows=2)
    one = TaskResult("quiz", "1", 0, (metric,), tuple(rows))
    (found,) = compare_tasks(one, one, draws=100, confidence=0.95, seed=0)
    assert (found.base, found.interval.value) == (0.5, 0.0)
    other = replace(one, samples=(rows[0], replace(rows[1], doc_hash="another")))
    with pytest.raises(DataError, match="measured on different rows"):
        compare_tasks(one, other, draws=100, confidence=0.95, seed=0)
    path = write_task(one, tmp_path)
    assert math.isnan(read_task(path).metrics[0].stderr)
    path.write_text("[]", "utf-8")
    with pytest.raises(DataError, match="not a task's result"):
        read_task(path)
