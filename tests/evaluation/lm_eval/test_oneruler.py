"""OneRuler's tasks: what is in a prompt, how long it is, and scores that were worked out by the authors' rules."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from compass.config import AdaptConfig, EvaluationConfig, RunConfig, TaskOptions, TasksConfig, TrainingConfig
from compass.errors import ConfigError, DataError
from compass.evaluation.lm_eval.oneruler.scoring import has_all_words, has_just_these_numbers, says_none, score
from compass.evaluation.lm_eval.oneruler.tasks import make_oneruler
from compass.evaluation.lm_eval.oneruler.variants import VARIANTS, Needles

WORDING = {
    "task": "Read this.\n\n<text>\n{context}\n</text>\n\n",
    "needle_numbers": 'The number of "{key}" is: {value} ',
    "question_single_numbers": '<Question> Which numbers has "{query1}"?',
    "question_multi_numbers": '<Question> Which numbers have "{query1}" and "{query2}"?',
    "please_list": "List all.",
    "if_no_numbers": 'If there are none, say "none".</Question>\n',
    "answer_prefix": "Answer so:\n",
    "answer_numbers": "<Answer> all numbers </Answer>",
    "none": "none",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The authors' layout with a small book, a hundred nouns, and a dictionary in one language of two."""
    data = tmp_path / "OneRuler" / "OneRuler" / "data"
    for language in ("en", "sw"):
        for folder in ("prompt", "books"):
            (data / folder / language).mkdir(parents=True)
        (data / "prompt" / language / "niah.txt").write_text(json.dumps(WORDING), "utf-8")
        (data / "prompt" / language / "cwe.txt").write_text("Words.\n<List> {context} </List>\n</Answer>\n", "utf-8")
        book = " ".join(f"Sentence {chr(97 + i % 26)}{chr(97 + i // 26)} is here, as it was." for i in range(150))
        (data / "books" / language / "book.txt").write_text(book, "utf-8")
    (data / "vocab" / "dictionaries" / "Swahili").mkdir(parents=True)
    nouns = ["en\tdefinition\tsw", *(f"noun{letters(i)}\tx\tneno{letters(i)}" for i in range(100))]
    (data / "vocab" / "100_noun_list_translated.tsv").write_text("\n".join(nouns), "utf-8")
    lines = ["words,pos", "neno1,noun", "hapa,adverb", *(f"kamusi{letters(i)},verb" for i in range(2600))]
    (data / "vocab" / "dictionaries" / "Swahili" / "Swahili.csv").write_text("\n".join(lines), "utf-8")
    return tmp_path / "OneRuler"


def letters(i: int) -> str:
    return chr(97 + i // 676) + chr(97 + i // 26 % 26) + chr(97 + i % 26)


def count_tokens(texts: Sequence[str]) -> list[int]:
    return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines()]


def test_needles_are_in_the_text_and_the_length_is_kept(source: Path, tmp_path: Path) -> None:
    """A needle that is missing, doubled or cut off makes the right answer unknowable; a longer prompt would be cut."""
    made = make_oneruler(source, tmp_path / "t", ["oneruler_en_2k"], count_tokens=count_tokens, rows=4, seed=1)
    assert sorted(made.tasks) == sorted(f"oneruler_{variant}_en_2k" for variant in VARIANTS)
    for variant, shape in VARIANTS.items():
        if not isinstance(shape, Needles):
            continue
        for row in rows_of(made.folder, f"oneruler_{variant}_en_2k"):
            text = row["input"]
            assert count_tokens([text])[0] == row["tokens"] <= 2048 - 128
            assert row["tokens"] > 0.95 * (2048 - 128)
            hidden = re.findall(r'The number of "(\w+)" is: (\d{7})\.', text)
            assert Counter(Counter(key for key, _ in hidden).values()) == {shape.values: shape.keys}
            assert len({number for _, number in hidden}) == len(hidden)
            asked = re.findall(r'"(noun\w+)"', text.split("<Question>")[1])
            assert len(asked) == shape.queries
            expected = [number for query in asked for key, number in hidden if key == query]
            if shape.answerable:
                assert sorted(row["outputs"]) == sorted(expected)
            else:
                assert (expected, row["outputs"]) == ([], ["none"])


def test_common_words_are_the_commonest(source: Path, tmp_path: Path) -> None:
    """The frequencies of the two tasks, at short and usual lengths, and the words of the dictionary where one is."""
    names = ["oneruler_cwe_easy_sw_6k", "oneruler_cwe_hard_sw_6k", "oneruler_cwe_easy_sw_12k"]
    made = make_oneruler(source, tmp_path / "t", names, count_tokens=count_tokens, rows=2)
    for name, (often, seldom) in zip(names, ((10, 1), (10, 5), (30, 3)), strict=True):
        for row in rows_of(made.folder, name):
            listed = Counter(re.findall(r"\d+\. (\w+)", row["input"]))
            assert {word for word, n in listed.items() if n == often} == set(row["outputs"])
            assert set(listed.values()) == {often, seldom}
            assert all(word.startswith("kamusi") for word in listed)
            # Whole words are added, each as often as the others: that is how near to the length one can come.
            assert 0 <= int(name.rsplit("_", 1)[1][:-1]) * 1000 - 256 - row["tokens"] <= 4 * seldom


def test_the_same_seed_writes_the_same_files(source: Path, tmp_path: Path) -> None:
    names = ["oneruler_niah_multikey_en_1k", "oneruler_cwe_easy_sw_1k"]
    content = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        made = make_oneruler(source, tmp_path / folder, names, count_tokens=count_tokens, rows=3, seed=seed)
        content.append([(made.folder / f"{name}.jsonl").read_bytes() for name in names])
    assert content[0] == content[1]
    assert content[0] != content[2]


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("<Answer> 1234567, 7654321 </Answer>", True),
        ("1. 7654321\n2. 1234567 (and again 1234567)", True),
        ("१२३४५६७ 7654321", True),
        ("1234567", False),
        ("1234567 7654321 1111111", False),
        ("1234567 7654321, none of the others", False),
        ("１２３４５６７、7654321", True),
        ("", False),
    ],
)
def test_numbers(answer: str, right: bool) -> None:
    """All of them and no others, in any order; single digits count the list; `none` beside them is wrong."""
    assert has_just_these_numbers(answer, ["1234567", "7654321"], ["none"]) is right


def test_nothing_and_words() -> None:
    assert says_none("<Svar> Ei mikään </Svar>", ["ei mikään"])
    assert says_none("EiMikään 1234567", ["ei mikään"])
    assert not says_none("1234567", ["none"])
    assert has_all_words("The words: Mti, paka (10)", ["mti", "Paka "])
    assert not has_all_words("mti", ["mti", "paka"])
    doc = {"kind": "none", "outputs": ["none"], "nones": ["none"]}
    assert [score(doc, [answer])["acc"] for answer in ("None.", "12")] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("oneruler_niah_double_en_8k", "the variants are niah_single"),
        ("oneruler_cy_8k", "OneRuler has no 'cy', it has en, sw"),
        ("oneruler_en_100", "512 are the least"),
        ("oneruler_en", "Names are oneruler_VARIANT"),
    ],
)
def test_names_that_do_not_exist(source: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_oneruler(source, tmp_path / "t", [name], count_tokens=count_tokens)
    assert not (tmp_path / "t").exists()


def test_missing_files_are_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no OneRuler data .*mungg/OneRuler"):
        make_oneruler(tmp_path, tmp_path / "t", ["oneruler_en_1k"], count_tokens=count_tokens)
    (source / "OneRuler" / "data" / "books" / "en" / "book.txt").unlink()
    with pytest.raises(DataError, match="has no book"):
        make_oneruler(source, tmp_path / "t", ["oneruler_niah_single_en_1k"], count_tokens=count_tokens)


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="pip install 'compass-peft[lm-eval]'")
@pytest.mark.filterwarnings("ignore")
def test_lm_eval_runs_and_scores_them(source: Path, tmp_path: Path) -> None:
    """The task files must be ones that lm-eval reads, with our rule of scoring, by the names that people type."""
    from compass.recipes.evaluate import evaluate_tasks
    from tiny_model import make_tiny_model

    model = make_tiny_model(tmp_path / "model")
    adapt = AdaptConfig(
        run=RunConfig(output_dir=str(tmp_path / "out")),
        training=TrainingConfig(model_name_or_path=str(model), dtype="float32"),
        evaluation=EvaluationConfig(),
    )
    options = TaskOptions(
        adapt,
        tasks=TasksConfig(oneruler=str(source), oneruler_rows=2, task_batch_size=2),
    )
    results, _ = evaluate_tasks(options, ["oneruler_niah_single_en_1k", "oneruler_niah_none_en_1k"])
    assert [result.task for result in results["base"]] == ["oneruler_niah_none_en_1k", "oneruler_niah_single_en_1k"]
    for result in results["base"]:
        assert [(metric.name, metric.value) for metric in result.metrics] == [("acc", 0.0)]
        assert len(result.samples) == 2
    with pytest.raises(ConfigError, match=r"Clone github\.com/mungg/OneRuler"):
        evaluate_tasks(TaskOptions(adapt), ["oneruler_en_1k"])
