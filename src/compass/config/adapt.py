"""The options of `compass adapt`, which other commands' options are put together with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from compass.config.checking import Conflict, advice_of_parts
from compass.config.knobs import AUTO, knob
from compass.config.reading import TAG
from compass.config.strategy import strategy_text
from compass.config.training import TrainingConfig

LARGEST_SEED = 2**32 - 1
"""NumPy and scikit-learn take no larger one."""


@dataclass(frozen=True)
class RunConfig:
    """Where a run is kept and what makes it repeatable."""

    output_dir: str = knob("runs/cy", "Folder of the run; an existing run resumes.", basic=True, required=True)
    seed: int = knob(0, "Seed of every random choice.", basic=True, low=0, high=LARGEST_SEED)
    cache_dir: str = knob("", "Folder for embeddings and prepared models; empty: the user's cache folder.")


def _with_hyphens(tag: Any) -> Any:
    return tag.replace("_", "-") if isinstance(tag, str) else tag


COLUMN_SETS = ("usage", "train", "pool", "test")
"""Sets of rows that a column mapping may be for alone, written before a dot."""


def _with_train(columns: Any) -> Any:
    """Take `current.prompt=question` for `train.prompt=question`: the set's earlier name."""
    if isinstance(columns, Mapping):
        return {_with_train(name): theirs for name, theirs in columns.items()}
    if isinstance(columns, (list, tuple)):
        return [_with_train(pair) for pair in columns]
    return re.sub(r"(^|,\s*)current\.", r"\1train.", columns) if isinstance(columns, str) else columns


@dataclass(frozen=True)
class DataConfig:
    """What is read. A source is a file (.jsonl, .ndjson, .json, .csv or .tsv, each also with .gz after it, or
    .parquet), a folder saved by `datasets`, `hub:NAME[/CONFIG][@REVISION][:SPLIT]`, or the embedded data set: `assist`,
    whose training data has a few rows of what usage needs, `assist:disjoint`, whose training data has none, or
    `assist:mixed-usage`, half of whose usage the training data knows well.
    `{language}` in a source is the target language, for data with a file or configuration for each
    (`hub:CohereLabs/Global-MMLU/{language}:dev`), and `{seed}` the seed, for draws of your own.
    """

    language: str = knob(
        "cy",
        "Target language, a BCP-47 tag: cy, zh-Hans, pt-BR.",
        basic=True,
        parse=_with_hyphens,
        hint='For Norwegian write language: "no", in quotes, or better nb or nn.',
    )
    usage: str = knob(
        "assist", "Sample of real usage in the target language; prompts suffice.", basic=True, required=True
    )
    train: tuple[str, ...] = knob(
        ("assist",),
        "Training data in the target language, or `none`.",
        basic=True,
        required=True,
        alias="current",
    )
    pool: tuple[str, ...] = knob(("assist",), "Multilingual pool to select from.", basic=True, required=True)
    test: str = knob("", "Held-out usage with responses; empty: half of the usage.", basic=True)
    retention_tests: tuple[str, ...] = knob((), "Further tests, for languages that must lose nothing.")
    columns: dict[str, str] = knob(
        {},
        "Column mapping, ours=yours: prompt=question, or pool.prompt=question for the pool alone.",
        basic=True,
        parse=_with_train,
    )
    streaming: bool = knob(False, "Stream data sets from the hub instead of downloading them.")
    identify_languages: bool = knob(
        True, "Identify the language of untagged rows, and drop pool rows that contradict their tag."
    )
    decontaminate: bool = knob(True, "Drop training and pool rows that overlap with a test or with held-out usage.")
    near_duplicates: float = knob(
        0.9, "Jaccard similarity at which pool rows count as near duplicates; 1 = off.", low=0.5, high=1.0
    )
    redact: bool = knob(
        False,
        "Replace e-mail addresses, phone numbers, card numbers and the like with placeholders.",
    )
    max_chars: int = knob(8000, "Maximum length of a row, prompt plus response, in characters.", low=1)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what is wrong together."""
        if self.usage == "none":
            yield ("usage",), "usage must be a source, because the gap is measured against it; got 'none'"
        if "none" in self.train and len(self.train) > 1:
            yield ("train",), f"train: 'none' means no training data; leave it out beside {self.train[-1]!r}"
        parts = {name.partition(".")[0] for name in self.columns if "." in name}
        if unknown := sorted(parts - set(COLUMN_SETS)):
            known = ", ".join(COLUMN_SETS)
            yield ("columns",), f"columns: {unknown[0]!r} is not a set of rows; write one of {known} before the dot"
        if not re.fullmatch(TAG, self.language):
            yield ("language",), f"language must be a BCP-47 tag such as cy, zh-Hans or pt-BR; got {self.language!r}"


@dataclass(frozen=True)
class EncoderConfig:
    """How texts become vectors."""

    encoder: str = knob(
        "embedded",
        "`embedded`, a sentence-transformers model, or the URL of a /v1/embeddings endpoint.",
        basic=True,
        required=True,
    )
    encoder_revision: str = knob("", "Revision of the model on the hub; for an endpoint, the version to record.")
    encoder_model: str = knob("", "Model to request from the endpoint.")
    prompt_name: str = knob("", "Name of the sentence-transformers prompt to prepend to each text.")
    encoder_batch_size: int = knob(64, "Texts per encoder call.", low=1)
    encoder_device: str = knob("", "Device of the encoder; empty: the library chooses.")
    encoder_dtype: str = knob(
        "auto",
        "Data type of a sentence-transformers model; auto: as stored. bfloat16 is faster on GPUs and newer CPUs.",
        choices=("auto", "float32", "bfloat16"),
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what is wrong together."""
        if _is_url(self.encoder) and not self.encoder_model:
            yield (
                ("encoder", "encoder_model"),
                f"encoder_model must not be empty; name the model to request from the endpoint {self.encoder}",
            )

    def advice(self) -> Iterator[str]:
        """Yield what may surprise."""
        if self.encoder_model and not _is_url(self.encoder):
            yield f"encoder_model: {self.encoder_model!r} is ignored, because encoder is not the URL of an endpoint"
        if self.prompt_name and (self.encoder == "embedded" or _is_url(self.encoder)):
            yield (
                f"prompt_name: {self.prompt_name!r} is ignored; only sentence-transformers models that are loaded "
                "here have named prompts"
            )
        if self.encoder_dtype != "auto" and (self.encoder == "embedded" or _is_url(self.encoder)):
            yield (
                f"encoder_dtype: {self.encoder_dtype!r} is ignored; only sentence-transformers models that are loaded "
                "here have one to choose"
            )

    @property
    def is_endpoint(self) -> bool:
        """Whether texts are sent to a server."""
        return _is_url(self.encoder)


@dataclass(frozen=True)
class SpaceConfig:
    """The semantic space: language removal and clusters."""

    language_removal: str = knob(
        "within-cluster",
        "How to remove the language from embeddings before clustering.",
        choices=("within-cluster", "mean", "none"),
    )
    clustering: str = knob(
        "kmeans", "Clustering algorithm: spherical k-means or HDBSCAN.", choices=("kmeans", "hdbscan")
    )
    n_clusters: int = knob(0, "Number of clusters; 0 = chosen by silhouette and stability.", low=0)
    fit_sample: int = knob(20000, "Maximum number of pool rows to fit the space on.", low=100)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what is wrong together."""
        if self.n_clusters == 1:
            yield ("n_clusters",), "n_clusters must be 0 (chosen from the data) or at least 2; got 1"
        if self.n_clusters > self.fit_sample:
            yield (
                ("n_clusters", "fit_sample"),
                f"n_clusters must not exceed fit_sample; got {self.n_clusters} clusters from {self.fit_sample} rows",
            )

    def advice(self) -> Iterator[str]:
        """Yield what may surprise."""
        if self.clustering == "hdbscan" and self.n_clusters:
            yield f"n_clusters: {self.n_clusters} is ignored; HDBSCAN finds the number of clusters itself"


PICKED_WITHOUT_USAGE = ("all", "english", "family", "langrank", "langsim", "random", "topic-random")
"""Strategies whose picks go by languages or by chance."""


@dataclass(frozen=True)
class SelectionConfig:
    """Which of the pool's rows are picked."""

    strategy: str = knob(
        "compass",
        "Selection strategy, with parameters if any: nearest:neighbours=5. See `compass strategies`.",
        basic=True,
        required=True,
        parse=strategy_text,
    )
    budget: int = knob(240, "Rows or tokens to select, or auto.", basic=True, low=1, auto=True)
    budget_unit: str = knob("examples", "Unit of the budget.", choices=("examples", "tokens"))
    prefilter: int = knob(0, "Pool rows to embed, the nearest to usage by a static embedding; 0 = all.", low=0)
    language_cap: float = knob(
        0.25, "Maximum share of the selected rows in one language of several; 1 = no cap.", low=0.0, high=1.0
    )
    duplicate_similarity: float = knob(
        0.98, "Cosine similarity at which a row repeats a selected row and is skipped; 1 = off.", low=0.5, high=1.0
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what is wrong together."""
        if self.language_cap == 0.0:
            yield ("language_cap",), "language_cap must be above 0, or no row can be selected; got 0.0 (1 = no cap)"
        elif self.budget != AUTO and self.budget_unit == "examples" and self.language_cap * self.budget < 1:
            yield (
                ("language_cap", "budget"),
                f"language_cap times budget must be at least 1, or no row can be selected; got {self.language_cap:g} x "
                f"{self.budget}. Raise one of them (language_cap 1 = no cap)",
            )
        if self.prefilter and self.budget_unit == "examples" and self.prefilter < self.budget:
            yield (
                ("prefilter", "budget"),
                f"prefilter must be at least the budget, or the budget can't be spent; got {self.prefilter} and "
                f"{self.budget}. Several times the budget leaves something to choose from (0 = all rows)",
            )
        if self.prefilter and self.strategy.partition(":")[0] == "given":
            yield ("prefilter", "strategy"), "prefilter must be 0 with the strategy given, whose rows a file names"

    def advice(self) -> Iterator[str]:
        """Yield what may surprise."""
        if self.prefilter and self.strategy.partition(":")[0] in PICKED_WITHOUT_USAGE:
            yield (
                f"prefilter: {self.strategy} doesn't pick by usage, and sees only the {self.prefilter} pool rows that "
                "are nearest to usage"
            )


@dataclass(frozen=True)
class EvaluationConfig:
    """How base and adapter are measured."""

    max_new_tokens: int = knob(64, "Maximum length of a generated answer in tokens.", basic=True, low=1)
    per_device_eval_batch_size: int = knob(256, "Maximum rows of a generation batch, memory permitting.", low=1)
    max_test_rows: int = knob(200, "Maximum rows of the test, sampled by the seed.", basic=True, low=1)
    max_retention_rows: int = knob(60, "Maximum rows of each retention test; 0 = skip these tests.", low=0)
    confidence: float = knob(0.95, "Confidence level of the intervals.", low=0.5, high=0.999)


@dataclass(frozen=True)
class AdaptConfig:
    """All options of `compass adapt`, by room."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    space: SpaceConfig = field(default_factory=SpaceConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def advice(self) -> Iterator[str]:
        """Yield what may surprise."""
        yield from advice_of_parts(self)
        selection, training = self.selection, self.training
        if selection.budget_unit == "tokens" and AUTO != selection.budget < training.max_length:
            yield (
                f"budget: {selection.budget} tokens are fewer than max_length, {training.max_length}: one row; raise "
                "budget, or set budget_unit to examples"
            )


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))
