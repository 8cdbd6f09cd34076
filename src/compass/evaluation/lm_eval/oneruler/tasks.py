"""OneRuler as lm-eval tasks (Kim et al. 2025, arXiv 2503.01996; github.com/mungg/OneRuler): needles and word lists.

    oneruler_niah_single_sw_8k     one task: variant, language, tokens of context
    oneruler_sw_8k                 all seven variants of it, as a group

Prompts, books and words are the authors' own files; the wording, the needles' depths, the numbers of needles and the
rules of scoring follow their code. Ours: sentences end at their punctuation (they use stanza); the whole prompt and
room for the answer fit into the length (they cut the book alone to it); the numbers of one prompt are all different;
answers may take ANSWER_TOKENS and end at the closing tag.
"""

from __future__ import annotations

import importlib
import logging
import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from compass.errors import ConfigError
from compass.evaluation.lm_eval.local_tasks import MadeTasks, Record, write_yaml
from compass.evaluation.lm_eval.oneruler.material import Material, find_data
from compass.evaluation.lm_eval.oneruler.prompts import CountTokens, largest_that_fits, needle_prompt, word_prompt
from compass.evaluation.lm_eval.oneruler.variants import (
    ANSWER_TOKENS,
    COMMON_WORDS,
    FURTHER_NONES,
    SHORT,
    VARIANTS,
    Needles,
    parse_name,
)
from compass.runs.files import write_jsonl, write_text

logger = logging.getLogger(__name__)


SCORING = "oneruler_scoring"
"""Module beside the task files through which lm-eval finds `score`."""


def make_oneruler(
    source: Path, folder: Path, names: Sequence[str], *, count_tokens: CountTokens, rows: int = 50, seed: int = 0
) -> MadeTasks:
    """Write OneRuler's tasks as task files and their data into a folder; the same seed gives the same files.

    source: the authors' repository or its `data` folder. names: `oneruler_VARIANT_LANGUAGE_LENGTH`, or without the
    variant for all of them; a length of `8k` is 8,000 tokens, prompt and answer together. rows: prompts of each task.
    Raises ConfigError for names that do not exist, DataError for files that are missing.
    """
    material = Material(find_data(source))
    wanted: dict[str, tuple[str, str, int]] = {}
    groups: dict[str, list[str]] = {}
    problems: list[str] = []
    for name in names:
        try:
            variants, language, length = parse_name(name, material.languages)
        except ConfigError as error:
            problems += error.problems
            continue
        size = name.rsplit("_", 1)[1]
        members = {f"oneruler_{variant}_{language}_{size}": (variant, language, length) for variant in variants}
        wanted |= members
        if len(members) > 1:
            groups[name] = sorted(members)
    if problems:
        raise ConfigError(problems)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write_text(
        folder / f"{SCORING}.py", "from compass.evaluation.lm_eval.oneruler.scoring import score  # noqa: F401\n"
    )
    for name, (variant, language, length) in wanted.items():
        write_jsonl(folder / f"{name}.jsonl", _rows(material, variant, language, length, count_tokens, rows, seed))
        _write_task(folder, name, variant, material.closing_tag(variant, language))
    for name, tasks in groups.items():
        mean = {"metric": "acc", "aggregation": "mean", "weight_by_size": False}
        write_yaml(folder / f"{name}.group.yaml", {"group": name, "task": tasks, "aggregate_metric_list": [mean]})
    return MadeTasks(folder, dict.fromkeys(wanted, rows), next(iter(groups), ""))


def _rows(
    material: Material, variant: str, language: str, length: int, count_tokens: CountTokens, rows: int, seed: int
) -> list[Record]:
    shape = VARIANTS[variant]
    nones = [material.prompts(language)["none"], *FURTHER_NONES.get(language, ())]
    if isinstance(shape, Needles):
        kind = "numbers" if shape.answerable else "none"
        make: Callable[[int, random.Random], tuple[str, list[str]]] = partial(needle_prompt, material, language, shape)
        most, least = math.inf, 1
    else:
        kind = "words"
        make = partial(word_prompt, material, language, shape.short if length <= SHORT else shape.usual)
        most, least = len(material.words(language)), COMMON_WORDS + 1
    room = length - ANSWER_TOKENS[variant.split("_")[0]]
    found: list[Record] = []
    size = least
    for i in range(rows):
        draw = f"{variant}/{language}/{length}/{seed}/{i}"
        size, text, outputs, tokens = largest_that_fits(make, draw, room, least, most, size, count_tokens)
        found.append(
            {"id": draw, "input": text, "outputs": outputs, "target": ", ".join(outputs), "kind": kind, "nones": nones,
             "tokens": tokens}
        )  # fmt: skip
    if size == most:
        logger.warning(
            "%s of %s: its %d words fill prompts of %d tokens, and there was room for %d. The authors' dictionaries "
            "(vocab/dictionaries) have more.", variant, language, size, max(int(row["tokens"]) for row in found), room,
        )  # fmt: skip
    return found


def _write_task(folder: Path, name: str, variant: str, closing_tag: str) -> None:
    task: Record = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}, "cache_dir": str(folder / ".cache")},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{input}}",
        "doc_to_target": "{{target}}",
        "generation_kwargs": {
            "until": [closing_tag], "do_sample": False, "max_gen_toks": ANSWER_TOKENS[variant.split("_")[0]]
        },
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "num_fewshot": 0,
        "metadata": {"version": 1.0},
    }  # fmt: skip
    yaml = importlib.import_module("yaml")
    text = yaml.safe_dump(task, allow_unicode=True, sort_keys=False)
    # A tag that no dumper knows: lm-eval reads it as a function of the module beside the file.
    write_text(folder / f"{name}.yaml", f"{text}process_results: !function {SCORING}.score\n")
