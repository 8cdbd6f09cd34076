"""Local files as lm-eval tasks: a folder of task files and their data, which lm-eval's own command reads as well.

    compass.evaluation.make_tasks(...)  ->  FOLDER/NAME.yaml, FOLDER/NAME.jsonl, FOLDER/NAME.fewshot.jsonl
    lm_eval run --tasks NAME --include_path FOLDER --model hf --model_args pretrained=...

The data hold the finished text, choices and answer, so that a task file is a few plain lines. Task files name their
data by absolute path: make them anew where the folder is moved.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass.data.choices import LETTERS, multiple_choice
from compass.data.languages import from_any
from compass.data.readers import iter_records
from compass.errors import ConfigError, DataError, LanguageError, MissingExtraError
from compass.evaluation.lm_eval.bridge import PART_FIELD, PARTS, usage_rows
from compass.runs.files import write_jsonl, write_text

TEMPLATES: Mapping[str, str] = {
    "letters": "A question with its choices under letters; the letters' likelihoods are compared (EXAMS, Global-MMLU).",
    "xcopa": "A premise with `because` or `so` in its language; the likelihoods of the two sentences are compared.",
    "labels": "A text to sort; the likelihoods of the labels of the data set are compared (SIB-200).",
    "number": "A sum to work out; the last number of the generated line is compared (MGSM).",
}
"""The ways to put a row to a model, by name. Layouts follow lm-eval's own tasks of these data sets."""

NUMBER = r"-?[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?"
LONGEST_ANSWER = 128
"""Tokens of an answer to a sum [ours]."""

Record = dict[str, Any]


@dataclass(frozen=True)
class UsageSplit:
    """Rows of a dev set, each used for one thing alone."""

    usage: tuple[Record, ...]
    """Rows that serve as the usage sample."""
    fewshot: tuple[Record, ...]
    """Rows that may stand before a question as examples."""
    dropped: int
    """Rows left out, since the same question, or its translation, is a few-shot row."""


@dataclass(frozen=True)
class MadeTasks:
    """What `make_tasks` wrote."""

    folder: Path
    tasks: Mapping[str, int]
    """Rows of each task."""
    group: str
    """Name under which all of them run; empty if there is one task alone."""


def split_usage(rows: Iterable[Mapping[str, Any]], n_fewshot: int, seed: int) -> UsageSplit:
    """Split a dev set into the usage sample and `n_fewshot` rows for few-shot examples, drawn by the seed.

    No question, and no `parallel_id` that translations share, is in both: usage rows that repeat a few-shot row are
    dropped. Raises DataError if fewer than `n_fewshot` different questions are there.
    """
    all_rows = [dict(row) for row in rows]
    numbers = list(range(len(all_rows)))
    random.Random(f"fewshot/{seed}").shuffle(numbers)
    chosen: list[int] = []
    taken: set[str] = set()
    for number in numbers:
        keys = _keys(all_rows[number])
        if len(chosen) < n_fewshot and not keys & taken:
            chosen.append(number)
            taken |= keys
    if len(chosen) < n_fewshot:
        raise DataError(f"{n_fewshot} few-shot rows are needed, and there are {len(chosen)} different questions.")
    usage = [row for row in all_rows if not _keys(row) & taken]
    return UsageSplit(
        tuple(usage), tuple(all_rows[number] for number in chosen), len(all_rows) - len(usage) - len(chosen)
    )


def make_tasks(
    source: str,
    folder: str | os.PathLike[str],
    *,
    name: str,
    template: str,
    language: str = "",
    split: str = "",
    by: str = "",
    fewshot: Sequence[Mapping[str, Any]] = (),
    num_fewshot: int = 0,
    usage: Collection[str] = (),
) -> MadeTasks:
    """Write the rows of a source as lm-eval tasks into a folder.

    template: one of TEMPLATES. language: keep rows of this tag alone (rows without one stay). split: keep rows whose
    `split` says so. by: field that gives each of its values a task of its own, in a group called `name`
    (`topic` for EXAMS). Rows with Global-MMLU's label of cultural sensitivity become tasks `..._cs` and `..._ca`
    besides, in no group, so that none counts twice. fewshot: rows for examples, in the same format, of which the first
    `num_fewshot` are used in this order. usage: prompts of the usage sample, which no few-shot row may repeat.
    Raises ConfigError for options that can't be, DataError for rows that do not fit the template.
    """
    _check(name, template, fewshot, num_fewshot, usage)
    wanted = from_any(language) if language else ""
    rows = [
        (place, row)
        for place, row in iter_records(source)
        if (not split or row.get("split") == split) and (not wanted or _tag(row, wanted) == wanted)
    ]
    if not rows:
        kept = ", ".join(part for part in (f"language {wanted}" * bool(wanted), f"split {split}" * bool(split)) if part)
        raise DataError(f"{source} has no rows{f' of {kept}' if kept else ''}. Look at its fields lang and split.")
    labels = sorted({str(row["response"]) for _, row in rows if row.get("response")}) if template == "labels" else []
    docs = [_doc(template, row, place, labels) for place, row in rows]
    examples = [_doc(template, row, f"few-shot row {i}", labels) for i, row in enumerate(fewshot)]

    parts, members = _parts(rows, docs, name, by)
    group = name if by else ""

    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for task, task_docs in parts.items():
        write_jsonl(folder / f"{task}.jsonl", task_docs)
        files = {"test": str(folder / f"{task}.jsonl")}
        if examples:
            write_jsonl(folder / f"{task}.fewshot.jsonl", examples)
            files["fewshot"] = str(folder / f"{task}.fewshot.jsonl")
        write_yaml(folder / f"{task}.yaml", _task(task, template, files, folder, num_fewshot))
    if group:
        metric = "exact_match" if template == "number" else "acc"
        mean = {"metric": metric, "aggregation": "mean", "weight_by_size": True}
        if template == "number":
            mean["filter_list"] = "last-number"
        write_yaml(folder / f"{group}.group.yaml", {"group": group, "task": members, "aggregate_metric_list": [mean]})
    return MadeTasks(folder, {task: len(task_docs) for task, task_docs in parts.items()}, group)


def _parts(
    rows: Sequence[tuple[str, Mapping[str, Any]]], docs: Sequence[Record], name: str, by: str
) -> tuple[dict[str, list[Record]], list[str]]:
    """Return the rows of each task, and the tasks of the group: those of `by`'s values, sorted."""
    parts: dict[str, list[Record]] = {}
    values: dict[str, str] = {}
    for (place, row), doc in zip(rows, docs, strict=True):
        if by and row.get(by) in (None, ""):
            raise DataError(f"{place}: no {by!r}, which names its task. Leave `by` out, or fill it in.")
        part = f"{name}_{_slug(str(row[by]))}" if by else name
        if by and values.setdefault(part, str(row[by])) != str(row[by]):
            raise DataError(
                f"{place}: {by} {row[by]!r} and {by} {values[part]!r} would both be the task {part}. Rename one."
            )
        parts.setdefault(part, []).append(doc)
    members = sorted(parts)
    for part in PARTS:
        chosen = [doc for doc in docs if doc.get(PART_FIELD) == part]
        if chosen:
            if (task := f"{name}_{part.lower()}") in parts:
                raise DataError(
                    f"{by} {values[task]!r} would be the task {task}, the name of the rows that are labelled {part} "
                    "for cultural sensitivity. Rename it."
                )
            parts[task] = chosen
    return parts, members


def _check(
    name: str, template: str, fewshot: Sequence[Mapping[str, Any]], num_fewshot: int, usage: Collection[str]
) -> None:
    problems = []
    if not re.fullmatch(r"[A-Za-z0-9][\w\-]*", name):
        problems.append(f"name: {name!r} has to serve as a file name: letters, digits, _ and - alone")
    if template not in TEMPLATES:
        problems.append(f"template: there is no {template!r}; one of {', '.join(TEMPLATES)}")
    if not 0 <= num_fewshot <= len(fewshot):
        problems.append(f"num_fewshot: {num_fewshot} examples were asked for, and fewshot has {len(fewshot)} rows")
    if problems:
        raise ConfigError(problems)
    repeated = usage_rows(fewshot, usage)
    if repeated:
        raise DataError(
            f"{len(repeated)} of the few-shot rows are in the usage sample, the first is number {repeated[0]}. "
            "Rows that chose the training data can't be examples in the test too: split them with split_usage."
        )


def _doc(template: str, row: Mapping[str, Any], place: str, labels: Sequence[str]) -> Record:
    doc: Record = {"id": str(row.get("id", row.get("sample_id", "")))}
    if row.get(PART_FIELD):
        doc[PART_FIELD] = str(row[PART_FIELD])
    if template == "letters":
        item = multiple_choice(row, place)
        letters = list(LETTERS[: len(item.choices)])
        return doc | {"text": f"{item.prompt}\nAnswer:", "choices": letters, "answer": item.answer}
    if template == "xcopa":
        item = multiple_choice(row, place)
        return doc | {
            "text": _premise(item.question, str(row.get("kind", "")), str(row.get("lang", "")), place),
            "choices": [choice[:1].lower() + choice[1:] for choice in item.choices],
            "answer": item.answer,
        }
    prompt, response = row.get("prompt"), row.get("response")
    if not isinstance(prompt, str) or not isinstance(response, str) or not response.strip():
        raise DataError(f"{place}: template {template!r} needs the texts prompt and response; found {', '.join(row)}.")
    if template == "labels":
        if response not in labels:
            raise DataError(f"{place}: the label {response!r} is not one of the test's: {', '.join(labels)}.")
        return doc | {
            "text": f"{prompt.strip()}\nTopic ({', '.join(labels)}):",
            "choices": list(labels),
            "answer": list(labels).index(response),
        }
    number = response.strip().replace(",", "")
    if not re.fullmatch(NUMBER, number):
        raise DataError(f"{place}: the response {response!r} is not a number. Template `number` needs plain digits.")
    return doc | {"text": f"{prompt.strip()}\nAnswer:", "answer": number}


def _premise(premise: str, kind: str, language: str, place: str) -> str:
    """Return the premise with the connector that lm-eval's XCOPA has for it."""
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtraError("lm_eval", "lm-eval", "The template xcopa")
    utils = importlib.import_module("lm_eval.tasks.xcopa.utils")
    made = getattr(utils, f"doc_to_text_{language.split('-')[0]}", None)
    if made is None or kind not in ("cause", "effect"):
        raise DataError(
            f"{place}: XCOPA has no connector for language {language!r} and kind {kind!r}. Its rows need `lang`, one "
            "of the eleven languages, and `kind`, cause or effect."
        )
    return str(made({"premise": premise, "question": kind}))


def _task(name: str, template: str, files: Mapping[str, str], folder: Path, num_fewshot: int) -> Record:
    task: Record = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": dict(files), "cache_dir": str(folder / ".cache")},
        "test_split": "test",
        "doc_to_text": "text",
        "doc_to_target": "answer",
        # lm-eval's flag can't override a 0: a task without few-shot rows never draws examples from its test.
        "num_fewshot": num_fewshot,
        "metadata": {"version": 1.0},
    }
    if "fewshot" in files:
        task |= {"fewshot_split": "fewshot", "fewshot_config": {"sampler": "first_n"}}
    if template == "number":
        last = [{"function": "regex", "regex_pattern": NUMBER, "group_select": -1}, {"function": "take_first"}]
        exact = {
            "metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "regexes_to_ignore": [","]
        }  # fmt: skip
        return task | {
            "output_type": "generate_until",
            "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": LONGEST_ANSWER},
            "filter_list": [{"name": "last-number", "filter": last}],
            "metric_list": [exact],
        }
    metrics = ["acc"] if template == "letters" else ["acc", "acc_norm"]
    return task | {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in metrics],
    }


def _keys(row: Mapping[str, Any]) -> set[str]:
    """What makes two rows the same item: their question, and the item that they translate."""
    text = next((row[name] for name in ("question", "prompt") if isinstance(row.get(name), str)), "")
    keys = {"text " + " ".join(text.split())}
    if row.get("parallel_id") not in (None, ""):
        keys.add(f"parallel {row['parallel_id']}")
    return keys


def _tag(row: Mapping[str, Any], default: str) -> str:
    given = str(row.get("language", row.get("lang", "")) or default)
    try:
        return from_any(given)
    except LanguageError:
        return given


def _slug(text: str) -> str:
    return re.sub(r"[^\w]+", "_", text.strip().lower()).strip("_")


def write_yaml(path: Path, content: Record) -> None:
    import yaml

    write_text(path, yaml.safe_dump(content, allow_unicode=True, sort_keys=False))
