"""OneRuler as lm-eval tasks (Kim et al. 2025, arXiv 2503.01996; github.com/mungg/OneRuler): needles and word lists.

    oneruler_niah_single_sw_8k     one task: variant, language, tokens of context
    oneruler_sw_8k                 all seven variants of it, as a group

Prompts, books and words are the authors' own files; the wording, the needles' depths, the numbers of needles and the
rules of scoring follow their code. Ours: sentences end at their punctuation (they use stanza); the whole prompt and
room for the answer fit into the length (they cut the book alone to it); the numbers of one prompt are all different;
answers may take ANSWER_TOKENS and end at the closing tag.
"""

from __future__ import annotations

import csv
import importlib
import json
import logging
import math
import random
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from compass.errors import ConfigError, DataError
from compass.evaluation.lm_eval.local_tasks import MadeTasks, Record, write_yaml
from compass.runs.files import write_jsonl, write_text

logger = logging.getLogger(__name__)

CountTokens = Callable[[Sequence[str]], list[int]]
"""Texts -> tokens of each, by the tokenizer of the model, without special tokens."""


@dataclass(frozen=True)
class Needles:
    """How many keys are hidden, values of each key, and keys that are asked for."""

    keys: int = 1
    values: int = 1
    queries: int = 1
    answerable: bool = True
    """False: the key that is asked for is not in the text."""


@dataclass(frozen=True)
class Words:
    """How often common and other words stand in a list: at any length, and up to SHORT tokens."""

    usual: tuple[int, int]
    short: tuple[int, int]


VARIANTS: Mapping[str, Needles | Words] = {
    "niah_single": Needles(),
    "niah_multikey": Needles(keys=4),
    "niah_multivalue": Needles(values=4),
    "niah_multiquery": Needles(keys=2, queries=2),
    "niah_none": Needles(keys=4, answerable=False),
    "cwe_easy": Words((30, 3), (10, 1)),
    "cwe_hard": Words((20, 10), (10, 5)),
}
"""The seven tasks, by the authors' names (their `cwe` is `cwe_hard` here)."""
COMMON_WORDS = 10
SHORT = 8_000
DEPTHS = tuple(round(100 * i / 39) for i in range(40))
"""Places in the text, in per cent, at which needles may lie."""
ANSWER_TOKENS = {"niah": 128, "cwe": 256}
"""Tokens of an answer [ours]; the authors' 30 and 50 are short of four numbers in many tokenizers."""
LEAST_TOKENS = 512
FURTHER_NONES: Mapping[str, tuple[str, ...]] = {"ja": ("数字はありません",), "uk": ("Нема",), "cs": ("žádná",)}
"""What counts as `none` besides the prompt's own word, as in the authors' scoring."""
DICTIONARIES = {
    "cs": "Czech", "da": "Danish", "de": "German", "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French",
    "hi": "Hindi", "hu": "Hungarian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sr": "Serbian", "st": "Sesotho",
    "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""Folders of the authors' dictionaries."""
UNSPACED = ("zh", "ja")
"""Languages whose sentences are joined without a space."""
FULL_STOPS = {"zh": "。", "ja": "。", "fa": "۔"}
SENTENCE_END = re.compile(r"(?<=[。！？])|(?<=[.?!।۔؟])\s+")
NAME = re.compile(
    r"oneruler_(?:(?P<variant>niah_[a-z]+|cwe_[a-z]+)_)?(?P<language>[a-z]{2})_(?P<length>[0-9]+)(?P<k>k?)"
)
SCORING = "oneruler_scoring"
"""Module beside the task files through which lm-eval finds `score`."""


def is_oneruler(name: str) -> bool:
    """Say whether a task's name is one of OneRuler's."""
    return name.startswith("oneruler_")


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
            variants, language, length = _parse(name, material.languages)
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
    write_text(folder / f"{SCORING}.py", "from compass.evaluation.lm_eval.oneruler import score  # noqa: F401\n")
    for name, (variant, language, length) in wanted.items():
        write_jsonl(folder / f"{name}.jsonl", _rows(material, variant, language, length, count_tokens, rows, seed))
        _write_task(folder, name, variant, material.closing_tag(variant, language))
    for name, tasks in groups.items():
        mean = {"metric": "acc", "aggregation": "mean", "weight_by_size": False}
        write_yaml(folder / f"{name}.group.yaml", {"group": name, "task": tasks, "aggregate_metric_list": [mean]})
    return MadeTasks(folder, dict.fromkeys(wanted, rows), next(iter(groups), ""))


def find_data(source: Path) -> Path:
    """Return the folder that holds `prompt`, `books` and `vocab`. Raises DataError if there is none."""
    for place in (source, source / "data", source / "OneRuler" / "data"):
        if (place / "prompt").is_dir():
            return place
    raise DataError(
        f"{source} has no OneRuler data (folders prompt, books, vocab). Clone github.com/mungg/OneRuler and give its "
        "folder."
    )


class Material:
    """The authors' files, read when they are needed."""

    def __init__(self, folder: Path) -> None:
        """Look at what languages there are. folder: as `find_data` returns it."""
        self.folder = folder
        self.languages = tuple(sorted(path.name for path in (folder / "prompt").iterdir() if path.is_dir()))
        self._words: dict[str, list[str]] = {}
        self._sentences: dict[str, list[str]] = {}

    def prompts(self, language: str) -> Record:
        """Return the wording of the needle tasks."""
        content: Record = json.loads(self._read(f"prompt/{language}/niah.txt"))
        return content

    def word_prompt(self, language: str) -> str:
        """Return the wording of the word-list tasks."""
        return self._read(f"prompt/{language}/cwe.txt")

    def nouns(self, language: str) -> list[str]:
        """Return the hundred nouns that serve as keys."""
        lines = csv.DictReader(self._read("vocab/100_noun_list_translated.tsv").splitlines(), delimiter="\t")
        found = [str(line.get(language) or "").strip() for line in lines]
        return sorted({noun for noun in found if noun})

    def words(self, language: str) -> list[str]:
        """Return nouns, adjectives and verbs for word lists; the hundred nouns where there is no dictionary."""
        if language not in self._words:
            self._words[language] = self._dictionary(language)
        return self._words[language]

    def _dictionary(self, language: str) -> list[str]:
        name = DICTIONARIES.get(language, "")
        path = self.folder / "vocab" / "dictionaries" / name / f"{name}.csv"
        if not name or not path.is_file():
            return self.nouns(language)
        with path.open(encoding="utf-8", newline="") as file:
            lines = [(str(line.get("words") or "").strip(), line.get("pos")) for line in csv.DictReader(file)]
        kept = {word for word, kind in lines if word and kind in ("noun", "adjective", "verb")}
        return sorted(word for word in kept if not re.search(r"\d", word))

    def sentences(self, language: str) -> list[str]:
        """Return the book in sentences."""
        if language not in self._sentences:
            books = sorted((self.folder / "books" / language).glob("*.txt"))
            if not books:
                raise DataError(
                    f"{self.folder / 'books' / language} has no book. Needle tasks hide their needles in one."
                )
            text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in books)
            parts = SENTENCE_END.split(re.sub(r"\s+", " ", text).strip())
            self._sentences[language] = [part.strip() for part in parts if part.strip()]
        return self._sentences[language]

    def closing_tag(self, variant: str, language: str) -> str:
        """Return what ends an answer."""
        text = self.word_prompt(language) if variant.startswith("cwe") else self.prompts(language)["answer_numbers"]
        tags: list[str] = re.findall(r"</[^<>]+>", text)
        return tags[-1] if tags else "</Answer>"

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"{self.folder / name} can't be read: {error.strerror}. It is part of OneRuler.") from error


def needle_prompt(
    material: Material, language: str, needles: Needles, n_sentences: int, rng: random.Random
) -> tuple[str, list[str]]:
    """Return a prompt with its needles in the first `n_sentences` of the book (again from its start where it ends),
    and the right answers."""
    wording, sentences = material.prompts(language), material.sentences(language)
    nouns = material.nouns(language)
    names = rng.sample(nouns, needles.keys + 1)
    keys, absent = names[:-1], names[-1]
    numbers = iter(rng.sample(range(10**6, 10**7), needles.keys * needles.values))
    values = {key: [str(next(numbers)) for _ in range(needles.values)] for key in keys}
    stop = FULL_STOPS.get(language, ".")
    hidden = [
        wording["needle_numbers"].format(key=key, value=value).rstrip() + stop for key in keys for value in values[key]
    ]
    rng.shuffle(hidden)
    book = [sentences[i % len(sentences)] for i in range(n_sentences)]
    cuts = [0, *sorted(int(n_sentences * depth / 100) for depth in rng.sample(DEPTHS, len(hidden))), n_sentences]
    parts: list[str] = []
    for i, (start, end) in enumerate(pairwise(cuts)):
        parts += book[start:end] + hidden[i : i + 1]
    asked = rng.sample(keys, needles.queries) if needles.answerable else [absent]
    space = "" if language in UNSPACED else " "
    kind = "single" if needles.queries == 1 else "multi"
    question = [wording[f"question_{kind}_numbers"], wording["please_list"], wording["if_no_numbers"]]
    answer = [wording["answer_prefix"], wording["answer_numbers"]]
    template = wording["task"] + space.join(question) + space.join(answer)
    queries = {f"query{i}": key for i, key in enumerate(asked, 1)}
    text = template.format(context=space.join(parts), **queries)
    return text, [value for key in asked for value in values[key]] if needles.answerable else [wording["none"]]


def word_prompt(
    material: Material, language: str, frequencies: tuple[int, int], n_words: int, rng: random.Random
) -> tuple[str, list[str]]:
    """Return a prompt with a list of `n_words` different words, and the ten that stand there most often."""
    words = rng.sample(material.words(language), n_words)
    common, others = words[:COMMON_WORDS], words[COMMON_WORDS:]
    listed = common * frequencies[0] + others * frequencies[1]
    rng.shuffle(listed)
    context = " ".join(f"{i}. {word}" for i, word in enumerate(listed, 1))
    return material.word_prompt(language).format(context=context, query=""), common


def score(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score an answer as the authors do: 1 or 0."""
    answer = results[0]
    if doc["kind"] == "none":
        right = says_none(answer, doc["nones"])
    elif doc["kind"] == "words":
        right = has_all_words(answer, doc["outputs"])
    else:
        right = has_just_these_numbers(answer, doc["outputs"], doc["nones"])
    return {"acc": float(right)}


def has_just_these_numbers(answer: str, numbers: Sequence[str], nones: Sequence[str]) -> bool:
    """Say whether the answer's numbers of two digits or more are these, each once or more, and nothing says `none`."""
    text = unicodedata.normalize("NFKC", answer)
    if any(none in text or _bare(none) in text for none in nones):
        return False
    found = dict.fromkeys(number for number in re.findall(r"\d+", text) if len(number) > 1)
    return len(found) == len(numbers) and {int(number) for number in found} == {int(number) for number in numbers}


def says_none(answer: str, nones: Sequence[str]) -> bool:
    """Say whether one of the words for `none` is in the answer, whatever else is."""
    text = _bare(unicodedata.normalize("NFKC", answer))
    return any(_bare(none) in text for none in nones)


def has_all_words(answer: str, words: Sequence[str]) -> bool:
    """Say whether every word is somewhere in the answer, in any order and beside any others."""
    text = answer.strip().lower()
    return all(word.strip().lower() in text for word in words)


def _bare(text: str) -> str:
    return text.strip().lower().replace("\u200c", "").replace(" ", "")


def _parse(name: str, languages: Sequence[str]) -> tuple[list[str], str, int]:
    found = NAME.fullmatch(name)
    if not found or (found["variant"] and found["variant"] not in VARIANTS):
        raise ConfigError(
            [f"tasks: {name!r} is no task of OneRuler. Names are oneruler_VARIANT_LANGUAGE_LENGTH, such as "
             f"oneruler_niah_single_sw_8k; the variants are {', '.join(VARIANTS)}, and none means all"]
        )  # fmt: skip
    if found["language"] not in languages:
        raise ConfigError([f"tasks: {name!r}: OneRuler has no {found['language']!r}, it has {', '.join(languages)}"])
    length = int(found["length"]) * (1_000 if found["k"] else 1)
    if length < LEAST_TOKENS:
        raise ConfigError([f"tasks: {name!r}: a length of {length} tokens, and {LEAST_TOKENS} are the least"])
    return [found["variant"]] if found["variant"] else list(VARIANTS), found["language"], length


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
        size, text, outputs, tokens = _fill(make, draw, room, least, most, size, count_tokens)
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


def _fill(
    make: Callable[[int, random.Random], tuple[str, list[str]]],
    draw: str,
    room: int,
    least: int,
    most: float,
    start: int,
    count_tokens: CountTokens,
) -> tuple[int, str, list[str], int]:
    """Return the largest prompt within `room` tokens: its size (sentences or words), text, answers and tokens.

    Looks around `start`, since rows of one task are of about one size. Raises DataError if the smallest is too large.
    """
    made: dict[int, tuple[str, list[str], int]] = {}

    def tokens(size: int) -> int:
        if size not in made:
            text, outputs = make(size, random.Random(draw))
            made[size] = (text, outputs, count_tokens([text])[0])
        return made[size][2]

    if tokens(least) > room:
        raise DataError(f"The shortest prompt of {draw} has {tokens(least)} tokens, and there is room for {room}.")
    low = high = int(min(max(start, least), most))
    step = max(1, low // 50)
    if tokens(low) <= room:
        while low < most and tokens(high := int(min(low + step, most))) <= room:
            low, step = high, 2 * step
        if low == most:
            return low, *made[low]
    else:
        while tokens(low := max(high - step, least)) > room:
            high, step = low, 2 * step
    # Now low fits and high does not.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tokens(middle) <= room else (low, middle)
    return low, *made[low]


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
