"""The options under experiments/: every key is known, and the data sets that they name would be read as meant."""

from __future__ import annotations

import gzip
import json
import os
import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compass.config import AdaptConfig, CompareConfig, DataConfig, RunConfig, dump_config, load_options
from compass.data.assist import SETTINGS
from compass.data.example import Example
from compass.recipes.compare import grid
from compass.recipes.grid import draw_config
from compass.selection import strategy_names
from compass.selection.strategies.langrank import LEAST_TARGETS
from compass.selection.strategies.less import Less
from compass.steps.read import clean, filled_in, read
from compass.steps.state import RunData
from forked import run_script


def cleaned(config: DataConfig, seed: int) -> RunData:
    config = filled_in(config, seed)
    return clean(read(config, seed), config, seed)[0]


EXPERIMENTS = Path(__file__).parents[1] / "experiments"
FOLDER = EXPERIMENTS / "paper"
MODELS = {
    "phi-4-mini": "microsoft/Phi-4-mini-instruct",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
}


def test_every_file_is_tested() -> None:
    """A new file would go unchecked."""
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*MODELS, "exams-small"}


@pytest.mark.parametrize("name", [*MODELS, "exams-small"])
def test_every_option_is_known_and_every_strategy_exists(name: str) -> None:
    """The command would end after hours of waiting for a GPU, on a typo."""
    config = load_options(CompareConfig, FOLDER / f"{name}.yaml")
    cells = grid(config)
    assert len(cells) == len({tuple(cell.items()) for cell in cells}) == (9 if name == "exams-small" else 648)
    assert config.adapt.training.model_name_or_path == MODELS.get(name, "embedded:gemma3-270m")
    assert config.adapt.run.output_dir == f"runs/paper/{name}"


def test_the_evidence_has_every_cheap_strategy() -> None:
    """Whoever leads could lead for want of the strategy that was left out."""
    config = load_options(CompareConfig, EXPERIMENTS / "evidence" / "assist.yaml")
    # A pool has no rows of `all` beyond its budget; the other three need files or a GPU.
    assert set(config.grid.strategies) == set(strategy_names()) - {"all", "given", "langrank", "less"}
    assert len(grid(config)) == 13 * 3 * 3 * 3
    assert {path.stem for path in (EXPERIMENTS / "evidence").glob("*.yaml")} == {
        "assist", "langrank", "less", "mixed", "mixed-long", "sib200", "tldr",
    }  # fmt: skip


def test_langrank_and_less_are_given_what_they_take() -> None:
    """A comparison of hours would end with a refusal: too few targets to learn from, or a pool that is too large."""
    config = load_options(CompareConfig, EXPERIMENTS / "evidence" / "langrank.yaml")
    sources = {name for name in config.grid.strategies if name.startswith("only-")}
    assert len(config.grid.languages) > LEAST_TARGETS
    assert len(sources) >= 2
    assert {"compass", "langrank", "random"} == {*config.grid.strategies} - sources
    less, sib200 = (load_options(CompareConfig, EXPERIMENTS / "evidence" / f"{n}.yaml") for n in ("less", "sib200"))
    assert (less.adapt.data, less.adapt.selection) == (sib200.adapt.data, sib200.adapt.selection)
    assert (less.adapt.training, less.adapt.space) == (sib200.adapt.training, sib200.adapt.space)
    assert Less().max_pool >= 23 * 180, "rows of the pool that experiments/sib200.py makes"


def test_mixed_usage_has_the_trainer_of_the_main_table() -> None:
    """The halves of usage would differ from the main table by more than the usage."""
    mixed, assist = (load_options(CompareConfig, EXPERIMENTS / "evidence" / f"{n}.yaml") for n in ("mixed", "assist"))
    assert (mixed.adapt.training, mixed.adapt.space) == (assist.adapt.training, assist.adapt.space)
    sizes = SETTINGS["mixed-usage"]
    assert mixed.adapt.evaluation.max_test_rows == 2 * sizes.needed_intents * sizes.test_per_intent
    assert set(mixed.grid.strategies) == {"compass", "tsds", "random", "crisp", "nearest", "target-only"}


def test_the_models_differ_in_nothing_else() -> None:
    """A figure of one model would not compare with another's; batches may be split, but are equal in the end."""
    seen = []
    for name in MODELS:
        config = load_options(CompareConfig, FOLDER / f"{name}.yaml")
        adapt = config.adapt
        training = adapt.training
        batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
        plain = replace(
            training, model_name_or_path="", per_device_train_batch_size=batch, gradient_accumulation_steps=1
        )
        evaluation = replace(adapt.evaluation, per_device_eval_batch_size=1)
        run = replace(adapt.run, output_dir="")
        seen.append(replace(config, adapt=replace(adapt, run=run, training=plain, evaluation=evaluation)))
    assert seen[0] == seen[1] == seen[2]


def test_the_hubs_data_sets_are_read_as_the_protocol_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrong split would choose by the test, or a question without its choices would be trained on."""
    calls = []

    def load_dataset(name: str, config: str | None, *, split: str, **options: Any) -> Any:
        calls.append((name, config, split))
        if name == "CohereLabs/aya_dataset":
            rows: list[dict[str, Any]] = [
                {"inputs": f"Question {i}?", "targets": f"Answer {i}", "language_code": ("eng", "swh")[i % 2]}
                for i in range(8)
            ]
        else:
            rows = [
                {"sample_id": f"{split}/{i}", "subject": "law", "question": f"Swali {split} {i}?", "answer": "B",
                 **{f"option_{letter}": f"jibu {letter}" for letter in "abcd"}}
                for i in range(12)
            ]  # fmt: skip
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    config = load_options(CompareConfig, FOLDER / "phi-4-mini.yaml")
    draw = draw_config(config, "yo", 0)
    data = cleaned(replace(draw.data, identify_languages=False), 0)
    assert sorted(calls, key=str) == [
        ("CohereLabs/Global-MMLU", "yo", "dev"),
        ("CohereLabs/Global-MMLU", "yo", "test"),
        ("CohereLabs/aya_dataset", None, "train"),
    ]
    assert (len(data.usage), len(data.tests["yo"]), len(data.pool), data.train) == (12, 12, 8, ())
    row = data.tests["yo"][0]
    assert row.parallel_id == "CohereLabs/Global-MMLU test/0"
    assert row.prompt == "Swali test 0?\nA. jibu a\nB. jibu b\nC. jibu c\nD. jibu d"
    assert (row.response, row.label, row.language) == ("B. jibu b", "law", "yo")
    assert {row.language for row in data.pool} == {"en", "sw"}
    assert not {row.prompt for row in data.usage} & {row.prompt for row in data.tests["yo"]}


def test_exams_is_cut_to_the_target_language(tmp_path: Path) -> None:
    """A file of several languages would be scored as one."""
    paths = {}
    for split in ("train", "dev", "test"):
        rows = [
            {"id": f"{split}-{language}-{i}", "lang": language, "question": f"{split} {language} {i}?",
             "choices": ["a", "b"], "answer": 1, "prompt": f"{split} {language} {i}?\nA. a\nB. b",
             "response": "B. b", "topic": ("Physics", "History")[i % 2]}
            for language in ("bg", "tr") for i in range(12)
        ]  # fmt: skip
        paths[split] = tmp_path / f"{split}.jsonl"
        paths[split].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    sources = {"usage": str(paths["dev"]), "test": str(paths["test"]), "pool": [str(paths["train"])]}
    config = load_options(CompareConfig, FOLDER / "exams-small.yaml", sources)
    draw = draw_config(config, "tr", 0)
    data = cleaned(replace(draw.data, identify_languages=False), 0)
    assert {row.language for row in (*data.usage, *data.tests["tr"])} == {"tr"}
    assert {row.language for row in data.pool} == {"bg", "tr"}
    assert {row.label for row in data.usage} == {"Physics", "History"}


def test_the_sets_of_sib200_are_read_and_share_no_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row twice in the pool is refused; a translation of a test row there would give the answer away."""
    topics = ("geography", "health", "politics", "science/technology", "sports", "travel", "entertainment")
    sizes = {"train": 20, "dev": 9, "test": 4}
    rows = []
    for language in ("swh-Latn", "deu-Latn", "eng-Latn", "hin-Deva", "kor-Hang"):
        meaning = 0
        for split, size in sizes.items():
            for topic in topics:
                for _ in range(size):
                    rows.append({"id": f"{language}-{meaning}", "lang": language, "split": split, "response": topic,
                                 "prompt": f"{topic} {language} {meaning}", "parallel_id": meaning})  # fmt: skip
                    meaning += 1
    with gzip.open(tmp_path / "sib.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    arguments = ["sib.jsonl.gz", "runs/evidence/sib200/data/0", "--targets", "swh-Latn", "--pool-rows"]
    refused = run_script(EXPERIMENTS / "sib200.py", [*arguments, "141"], os.environ, tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == "--pool-rows 141: the train split has 140 sentences. Give at most those.\n"
    run_script(EXPERIMENTS / "sib200.py", [*arguments, "90"], os.environ, tmp_path).check_returncode()
    monkeypatch.chdir(tmp_path)

    config = load_options(CompareConfig, EXPERIMENTS / "evidence" / "sib200.yaml")
    assert len(grid(config)) == 45
    draw = draw_config(config, "sw", 0)
    data = cleaned(replace(draw.data, identify_languages=False, near_duplicates=1.0), 0)
    needed = {row.response for row in data.usage}
    assert Counter(row.response for row in data.usage) == dict.fromkeys(needed, 8)
    assert Counter(row.response for row in data.train) == {t: 2 if t in needed else 15 for t in topics}
    assert Counter(row.response for row in data.tests["sw"]) == dict.fromkeys(needed, 4)
    assert len(needed) == 3
    assert Counter(row.language for row in data.pool) == dict.fromkeys(("de", "en", "hi", "ko"), 90)
    places = {row.id: row.id.rsplit("-", 1)[1] for row in (*data.pool, *data.tests["sw"])}
    pool, test = ({places[row.id] for row in part} for part in (data.pool, data.tests["sw"]))
    assert not pool & test


def test_the_sets_of_tldr_are_read_and_no_page_of_a_test_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of a test row that is in the pool, in whatever language or platform, would give its command away."""
    rows = [
        {"id": f"tldr-{language}-{platform}-f{family}-p{page}-{i}", "lang": language, "platform": platform,
         "prompt": f"{language} {platform} {family} {page} {i}",
         "response": f"f{family} --option-{page} {language} {i}",
         "command": f"f{family}-p{page}"}
        for language in ("ta", "en", "ko", "fr") for platform in ("common", "linux") for family in range(12)
        for page in range(3) for i in range(5)
    ]  # fmt: skip
    with gzip.open(tmp_path / "tldr.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    arguments = ["tldr.jsonl.gz", "runs/evidence/tldr/data/0", "--targets", "ta", "--pool-rows", "300"]
    run_script(EXPERIMENTS / "tldr.py", arguments, os.environ, tmp_path).check_returncode()
    monkeypatch.chdir(tmp_path)

    config = load_options(CompareConfig, EXPERIMENTS / "evidence" / "tldr.yaml")
    assert len(grid(config)) == 7 * 3 * 3
    draw = draw_config(config, "ta", 0)
    data = cleaned(replace(draw.data, identify_languages=False, near_duplicates=1.0), 0)
    needed = {row.label for row in data.usage}
    assert Counter(row.label for row in data.usage) == dict.fromkeys(needed, 6)
    assert len(needed) == 6
    own = Counter(row.label for row in data.train)
    assert {label: own[label] for label in needed} == dict.fromkeys(needed, 2)
    assert sum(own.values()) == 72
    assert {row.label for row in data.tests["ta"]} == needed
    assert len(data.pool) == 300
    assert Counter(row.label in needed for row in data.pool)[True] == 20  # 6.5 % of 300
    tested = {row.id.rsplit("-", 3)[1:3][0] + row.id.rsplit("-", 3)[2] for row in data.tests["ta"]}
    others = {
        row.id.rsplit("-", 3)[1:3][0] + row.id.rsplit("-", 3)[2] for row in (*data.pool, *data.usage, *data.train)
    }
    assert tested
    assert not tested & others


def test_tables_have_the_halves_of_mixed_usage_and_the_metrics_of_free_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The halves would be of other rows, or free text would be told by exact match, which says nothing of it."""
    main = runpy.run_path(str(EXPERIMENTS / "evidence_tables.py"))["main"]

    def write(name: str, score: Any, **more: float) -> str:
        cells = [{"language": "cy", "seed": seed, "budget": 2000, "strategy": strategy, "exact": 0.5, "intent": 0.5,
                  "picked": 5, "steps": 2, "train_seconds": 1.5}
                 for seed in (0, 1) for strategy in ("compass", "tsds")]  # fmt: skip
        keys = ("language", "seed", "budget", "strategy")
        rows = [{**{key: cell[key] for key in keys}, "id": f"t{i}", "item": f"{i}",
                 "exact": score(cell["strategy"], i), "intent": 1.0, "loss": 0.5, **more}
                for cell in cells for i in range(20)]  # fmt: skip
        (tmp_path / name).mkdir()
        for kind, content in (("rows", rows), ("cells", cells)):
            pq.write_table(pa.Table.from_pylist(content), tmp_path / name / f"{kind}.parquet")
        main([name, "--results", str(tmp_path / "kept"), "--add", str(tmp_path / name)])
        return capsys.readouterr().out

    def load_assist(language: str, *, setting: str, **_more: Any) -> Any:
        assert (language, setting) == ("cy", "mixed-usage")
        test = [Example(f"t{i}", "p", "r", "cy", label="needed" if i < 5 else "known") for i in range(20)]
        return SimpleNamespace(tests={"cy": test}, needed=("needed",))

    main.__globals__["load_assist"] = load_assist
    text = write("mixed", lambda strategy, i: float((strategy == "compass") == (i < 5)))
    whole, uncovered, covered = (
        {line.split(" | ")[1]: line.split(" | ")[3] for line in part.splitlines() if line.startswith("| 2,000 |")}
        for part in (text.partition("## By language")[0], text.partition("## Uncovered")[2].partition("## Covered")[0],
                     text.partition("## Covered half of usage")[2])
    )  # fmt: skip
    assert whole == {"`compass`": ".250", "`tsds`": ".750"}
    assert uncovered == {"`compass`": "1.000", "`tsds`": ".000"}
    assert covered == {"`compass`": ".000", "`tsds`": "1.000"}

    text = write("tldr", lambda *_: 0.0, chrf=0.6, token_f1=0.25, rouge_l=0.75)
    assert "| tokens | strategy | trainings | loss | chrF | token F1 | ROUGE-L | exact match |" in text
    assert "| 2,000 | `tsds` | 2 | .500 | .600 | .250 | .750 | .000 |" in text


def test_how_many_are_found_for_the_draws_of_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another number than the command's own would be compared with fixed budgets."""
    words = ("lamp", "music", "door", "alarm", "oven")
    sizes = {"usage": ("cy", 15), "train": ("cy", 6), "test": ("cy", 5), "pool": ("de", 40)}
    for name, (tag, n) in sizes.items():
        rows = [{"id": f"{name}{i}", "prompt": f"{tag} {name} {words[i % (2 if name == 'train' else 5)]} number {i}",
                 "response": words[i % 5], "language": tag} for i in range(n)]  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    lines = [f"{name}: {tmp_path / name}.jsonl" for name in sizes]
    more = [f"cache_dir: {tmp_path / 'cache'}", "identify_languages: false", "near_duplicates: 1.0", "n_clusters: 4"]
    options = tmp_path / "grid.yaml"
    options.write_text("\n".join([*lines, *more, "languages: [cy]", "seeds: [0]", ""]), "utf-8")
    main = runpy.run_path(str(EXPERIMENTS / "how_many.py"))["main"]
    main([str(options), str(tmp_path / "out")])
    main([str(options), str(tmp_path / "out")])
    (line,) = (tmp_path / "out" / "budgets.jsonl").read_text("utf-8").splitlines()
    found = json.loads(line)
    assert 1 <= found["budget"] == found["rows"] <= found["largest"]
    assert found["alone"] < found["with_it"] <= 1
    served = list(found["served"].values())
    assert served == sorted(served)
    assert capsys.readouterr().out.count(f"cy 0: {found['budget']} examples") == 2


@pytest.mark.parametrize("labelled", [False, True])
def test_a_ceiling_is_drawn_from_what_the_test_asks_for(tmp_path: Path, labelled: bool) -> None:
    """A list with other rows, or one kind before the other, would be no ceiling. Free text is told by its label."""
    draw = tmp_path / "grid" / "draws" / "cy-7-abc"
    kinds_of_rows = ("on", "off", "up")
    rows = [{"id": f"p{i}", "prompt": f"p {i}", "language": "de", "response": kinds_of_rows[i % 3]} for i in range(30)]
    tests = [{"id": f"t{i}", "prompt": f"t {i}", "language": "cy", "response": ("on", "up")[i % 2]} for i in range(4)]
    if labelled:
        for row in (*rows, *tests):
            row["label"], row["response"] = row["response"], f"a command of {row['response']}, as {row['id']} wants it"
    (draw / "data" / "tests").mkdir(parents=True)
    for path, content in ((draw / "data" / "pool.jsonl", rows), (draw / "data" / "tests" / "cy.jsonl", tests)):
        path.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
    config = AdaptConfig(data=DataConfig(language="cy"), run=RunConfig(seed=7))
    (draw / "compass.yaml").write_text(dump_config(config), "utf-8")
    arguments = [str(tmp_path / "grid"), str(tmp_path / "out")]
    run_script(EXPERIMENTS / "ceiling.py", arguments, os.environ, tmp_path).check_returncode()
    ids = (tmp_path / "out" / "cy-7.txt").read_text("utf-8").split()
    kinds = [int(name[1:]) % 3 for name in ids]
    assert sorted(ids) == sorted(row["id"] for i, row in enumerate(rows) if i % 3 != 1)
    assert kinds == [0, 2] * 10


def test_the_evidence_is_counted_again_from_kept_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table would keep what was trained again, or compare strategies on other draws than the first one's."""

    def write(folder: Path, exact: dict[tuple[str, int], float]) -> None:
        keys = [{"language": "cy", "seed": seed, "budget": 1000, "strategy": name} for name, seed in exact]
        rows = [
            {**key, "id": f"t{i}", "item": f"{i:x}", "exact": float(i < 20 * share), "intent": 1.0, "loss": 0.5}
            for key, share in zip(keys, exact.values(), strict=True)
            for i in range(20)
        ]
        cells = [{**key, "exact": share, "intent": 1.0, "picked": 5, "steps": 2, "train_seconds": 1.5}
                 for key, share in zip(keys, exact.values(), strict=True)]  # fmt: skip
        folder.mkdir()
        for name, content in (("rows", rows), ("cells", cells)):
            pq.write_table(pa.Table.from_pylist(content), folder / f"{name}.parquet")

    main = runpy.run_path(str(EXPERIMENTS / "evidence_tables.py"))["main"]

    def table(*more: str | Path) -> str:
        main(["assist", "--results", str(tmp_path / "kept"), *map(str, more)])
        return capsys.readouterr().out

    write(tmp_path / "one", {("compass", 0): 0.1, ("compass", 1): 0.5, ("random", 0): 0.5, ("random", 1): 0.2})
    table("--add", tmp_path / "one")
    write(tmp_path / "two", {("compass", 0): 0.75, ("tsds", 0): 0.5})
    table("--add", tmp_path / "two")
    lines = {line.split(" | ")[1]: line.strip("| ").split(" | ") for line in table().splitlines()
             if line.startswith("| 1,000 |")}  # fmt: skip
    assert lines["`compass`"][2:6] == ["2", ".625", "1.000", ".500"]
    assert lines["`random`"][2:4] == ["2", ".350"]
    # 27.5 ± 12.71 · 2.5, by hand.
    assert lines["`random`"][6] == "+27.5 [−4.3, +59.3] *"
    assert lines["`tsds`"][2:4] == ["1", ".500"]
    assert lines["`tsds`"][6].startswith("+25.0")
    kept = (tmp_path / "kept" / "assist" / "cells.jsonl").read_text("utf-8").splitlines()
    assert len(kept) == 5
    table("--add", tmp_path / "one", "--rename", "compass=compass-wide")
    assert "| `compass-wide` | 2 | .300 |" in table()
    assert "| `compass` | 2 | .625 |" in table()
