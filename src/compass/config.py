"""Every knob once: its name, type, default, unit and one line of help.

The same names serve as YAML keys, command-line flags and Python arguments. A YAML file may group them under the
section names (`data:`, `encoder:`, ...) or list them flat; every name is unique across sections.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from compass.errors import ConfigError

logger = logging.getLogger(__name__)


def knob(default: Any, help: str, **metadata: Any) -> Any:
    """Declare one option: its default and its line of help; `choices`, `low`, `high` are checked by `validate`."""
    meta = {"help": help, **metadata}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class RunConfig:
    """Where a run is kept and what makes it repeatable."""

    output_dir: str = knob("runs/cy", "Folder of the run; the same folder again resumes it.")
    seed: int = knob(0, "Seed of every random choice.", low=0)
    cache_dir: str = knob("", "Folder for embeddings and prepared models; empty: the user's cache folder.")


COLUMN_SETS = ("usage", "current", "pool", "test")
"""Sets of rows that a column mapping may be for alone, written before a dot."""


@dataclass(frozen=True)
class DataConfig:
    """What is read. A source is a file (.jsonl, .json, .csv, .parquet, also .gz), a folder saved by `datasets`,
    `hub:NAME[/CONFIG][@REVISION][:SPLIT]`, or `assist`, the embedded data set. `{language}` in a source is the
    target language, for data with a file or configuration for each (`hub:CohereLabs/Global-MMLU/{language}:dev`), and
    `{seed}` the seed, for draws of your own.
    """

    language: str = knob("cy", "Target language, BCP-47 (`cy`, `zh-Hans`, `pt-BR`).")
    usage: str = knob("assist", "Sample of real usage in the target language (prompts suffice).")
    current: str = knob("assist", "Training data at hand in the target language; `none` when there is none.")
    pool: tuple[str, ...] = knob(("assist",), "Multilingual pool to choose from; one or more sources.")
    test: str = knob("", "Held-out usage with responses; empty: half of the usage rows are held out.")
    retention_tests: tuple[str, ...] = knob((), "More test files, each a language where nothing should be lost.")
    columns: dict[str, str] = knob(
        {}, "Column mapping as ours=theirs (`prompt=question`); `pool.prompt=question` is for the pool alone."
    )
    streaming: bool = knob(False, "Stream hub data sets instead of downloading them whole.")
    identify_languages: bool = knob(True, "Identify the language of rows that carry no tag.")
    decontaminate: bool = knob(True, "Drop pool rows that overlap with the tests or the held-out usage.")
    decontamination_ngram: int = knob(8, "Words a shared n-gram has to have to count as overlap.", low=3)
    near_duplicates: float = knob(
        0.9, "Jaccard similarity from which two pool rows are near duplicates; 1 is off.", low=0.5, high=1.0
    )
    redact: bool = knob(
        False,
        "Replace e-mail addresses, telephone numbers, cards and the like by their kind in every row that is kept.",
    )
    max_chars: int = knob(8000, "Longest row, prompt and response together, in characters.", low=1)
    assist_setting: str = knob(
        "skewed",
        "Embedded data: `skewed` (a few rows of each needed intent at hand) or `disjoint` (none).",
        choices=("skewed", "disjoint"),
    )


@dataclass(frozen=True)
class EncoderConfig:
    """How texts become vectors."""

    encoder: str = knob(
        "embedded", "`embedded`, a sentence-transformers name or folder, or the URL of a /v1/embeddings endpoint."
    )
    encoder_revision: str = knob("", "Revision of the hub model, or the version to note for an endpoint.")
    encoder_model: str = knob("", "Model name to send to the endpoint.")
    prompt_name: str = knob("", "sentence-transformers prompt to put before each text.")
    encoder_batch_size: int = knob(64, "Texts in one encoder call.", low=1)
    encoder_device: str = knob("", "Device of the encoder; empty: chosen by the library.")
    encoder_api_key_env: str = knob("COMPASS_API_KEY", "Environment variable that holds the endpoint's key.")


@dataclass(frozen=True)
class SpaceConfig:
    """The semantic space: language removal and clusters."""

    language_removal: str = knob(
        "within-cluster",
        "What is removed of each language before clustering.",
        choices=("within-cluster", "mean", "none"),
    )
    clustering: str = knob("kmeans", "Spherical k-means, or HDBSCAN.", choices=("kmeans", "hdbscan"))
    n_clusters: int = knob(0, "Clusters; 0 chooses by silhouette and stability.", low=0)
    fit_sample: int = knob(20000, "Pool rows that the space is fitted on, at most.", low=100)


@dataclass(frozen=True)
class SelectionConfig:
    """Which of the pool's rows are picked."""

    strategy: str = knob("compass", "Selection strategy, by name.")
    budget: int = knob(240, "How much to pick.", low=1)
    budget_unit: str = knob("examples", "Unit of the budget.", choices=("examples", "tokens"))
    language_cap: float = knob(0.25, "Largest share of the picks from one language; 1 is no cap.", low=0.0, high=1.0)
    duplicate_similarity: float = knob(
        0.98, "Cosine from which a pick repeats an earlier pick and is passed over; 1 is off.", low=0.5, high=1.0
    )
    draw_window: int = knob(
        0,
        "`compass`: each usage row draws among so many times the rows that it asks for; 1: it takes the best. 0: 20 "
        "where the budget is split over kinds of answer, else 1.",
        low=0,
    )
    answer_cap: float = knob(
        0.15,
        "Largest share of the picks with one kind of answer that usage is not expected to ask more of, where the "
        "budget is not split over kinds; 1 is no cap.",
        low=0.0,
        high=1.0,
    )
    answer_weight: float = knob(
        0.3,
        "Cosine that a pool row gains if it surely has the kind of answer that a usage row expects, where the budget "
        "is not split over kinds.",
        low=0.0,
    )
    answer_quotas: bool = knob(
        True,
        "`compass`: split the budget over kinds of answer by what usage expects and the data at hand lacks, where the "
        "kind is a matter of the prompt.",
    )
    transfer_results: str = knob(
        "", "JSONL of transfer results that `langrank` learns from; empty: none, and `langrank` refuses."
    )
    given_picks: str = knob(
        "",
        "Rows for `given`, best first: ids, or JSONL with `id` such as a run's selected.jsonl; {language}, {seed} and "
        "{budget} in the path are filled in.",
    )
    less_warmup_share: float = knob(
        0.05, "Share of the pool that the adapter is warmed up on for `less`.", low=0.0, high=1.0
    )
    less_max_pool: int = knob(5000, "Pool rows above which `less` refuses: it costs a backward pass for each.", low=1)
    smoothing: float = knob(0.0, "Pseudo-count added to every cluster before shares are taken.", low=0.0)
    neighbours: int = knob(3, "Nearest usage rows that score a pool row.", low=1)


@dataclass(frozen=True)
class TrainingConfig:
    """The adapter and how it is trained; names as in trl and peft."""

    model_name_or_path: str = knob(
        "embedded:gemma3-270m", "Base model: hub name, folder, `embedded:gemma3-270m` or `embedded:smollm2-135m`."
    )
    model_revision: str = knob("", "Revision of the hub model; the resolved commit is written down.")
    trust_remote_code: bool = knob(False, "Run code that comes with the model. Off unless you trust its authors.")
    adapter: str = knob("", "Adapter folder to start from.")
    lora_r: int = knob(16, "Rank of the adapter.", low=1)
    lora_alpha: int = knob(32, "Scale of the adapter.", low=1)
    lora_dropout: float = knob(0.0, "Dropout inside the adapter.", low=0.0, high=1.0)
    lora_target_modules: str = knob("all-linear", "Layers that get an adapter: `all-linear` or names with commas.")
    use_dora: bool = knob(False, "DoRA: learn magnitude and direction apart. Not every server serves it.")
    use_rslora: bool = knob(False, "Scale by alpha over the square root of the rank.")
    load_in_4bit: bool = knob(False, "4-bit base weights (CUDA and bitsandbytes).")
    learning_rate: float = knob(5e-4, "Peak learning rate.", low=0.0)
    num_train_epochs: float = knob(2.0, "Passes over the training rows.", low=0.0)
    max_steps: int = knob(-1, "Optimiser steps; overrides the epochs when positive.")
    per_device_train_batch_size: int = knob(8, "Rows in one batch on one device.", low=1)
    gradient_accumulation_steps: int = knob(1, "Batches in one optimiser step.", low=1)
    lr_scheduler_type: str = knob("linear", "Learning-rate schedule.")
    warmup_steps: float = knob(0.1, "Warm-up in steps, or in shares of the run when below 1.", low=0.0)
    weight_decay: float = knob(0.0, "Weight decay of the adapter.", low=0.0)
    max_grad_norm: float = knob(1.0, "Gradient norm to clip at.", low=0.0)
    max_length: int = knob(512, "Tokens of the longest row; longer rows are cut.", low=8)
    packing: str = knob(
        "auto",
        "Several rows in one sequence: `auto` only where the attention kernel keeps them apart.",
        choices=("auto", "on", "off"),
    )
    gradient_checkpointing: bool = knob(False, "Recompute activations to save memory.")
    dtype: str = knob(
        "auto",
        "`auto` (bfloat16 on GPUs, else float32), `float32` or `bfloat16`.",
        choices=("auto", "float32", "bfloat16"),
    )
    answer_balance: int = knob(
        5, "Most times an epoch that a row at hand with a rare kind of answer is seen; 1 is off.", low=1
    )
    current_weight: int = knob(
        1, "Times that the data at hand is seen for each time that a pick is, besides answer_balance.", low=1
    )
    averaged_trainings: int = knob(
        1,
        "Trainings on the same rows, each with a seed of its own, that are averaged into one adapter: steadier and "
        "better, for so many times the time and the rank.",
        low=1,
    )
    tail_average: float = knob(
        0.0,
        "Share of the steps, counted from the last, whose mean weights are the adapter; 0 takes the last step's.",
        low=0.0,
        high=1.0,
    )
    save_steps: int = knob(50, "Steps between two checkpoints.", low=1)
    logging_steps: int = knob(5, "Steps between two log lines.", low=1)
    report_to: str = knob("none", "Trackers of transformers, with commas, or `none`.")
    max_serving_rank: int = knob(64, "Largest rank that your server takes; a larger `lora_r` is refused.", low=1)


@dataclass(frozen=True)
class EvaluationConfig:
    """How base and adapter are measured."""

    max_new_tokens: int = knob(64, "Longest answer in tokens.", low=1)
    per_device_eval_batch_size: int = knob(32, "Rows in one decoding batch.", low=1)
    max_test_rows: int = knob(200, "Rows of each test set, at most; chosen by the seed.", low=1)
    max_retention_rows: int = knob(60, "Rows of each further test set, at most; 0 leaves these tests out.", low=0)
    bootstrap_draws: int = knob(2000, "Bootstrap draws behind each interval.", low=100)
    confidence: float = knob(0.95, "Level of the intervals.", low=0.5, high=0.999)


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


@dataclass(frozen=True)
class GridConfig:
    """The cells of a comparison: every strategy with every budget, language and seed."""

    strategies: tuple[str, ...] = knob(
        ("compass", "random", "nearest", "target-only"), "Strategies; the first is compared with each of the others."
    )
    budgets: tuple[int, ...] = knob((240,), "Budgets, in the unit of budget_unit.", low=1)
    languages: tuple[str, ...] = knob((), "Target languages; empty: the one of `language`.")
    seeds: tuple[int, ...] = knob((0, 1, 2), "Seeds: each draws data, picks and trains anew.", low=0)
    equal_steps: bool = knob(True, "Train every cell of a language, seed and budget for the same optimiser steps.")
    workers: int = knob(0, "Cells at a time; 0: one for each GPU, or one for each four cores.", low=0)
    permutations: int = knob(10_000, "Draws of the paired permutation tests.", low=100)


@dataclass(frozen=True)
class CompareConfig(AdaptConfig):
    """All options of `compass compare`: those of `compass adapt` for each cell, and the grid."""

    grid: GridConfig = field(default_factory=GridConfig)


@dataclass(frozen=True, slots=True)
class Option:
    """One knob as the command line and the reader of files see it."""

    name: str
    section: str
    type: Any
    """`str`, `int`, `float`, `bool`, `tuple[str, ...]`, `tuple[int, ...]` or `dict[str, str]`."""
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def flag(self) -> str:
        """The command-line flag, `--lora-r`."""
        return "--" + self.name.replace("_", "-")


Options = TypeVar("Options", bound=AdaptConfig)


def fields_of(config: type[AdaptConfig] = AdaptConfig) -> tuple[Option, ...]:
    """Return every option of a configuration of sections, in the order of the sections and their fields."""
    return _fields_of(config)  # type: ignore[arg-type]  # mypy takes the instances' hash for the class's


@cache
def _fields_of(config: Any) -> tuple[Option, ...]:
    options = []
    for section in fields(config):
        section_type = get_type_hints(config)[section.name]
        hints = get_type_hints(section_type)
        defaults = section_type()
        for knob_field in fields(section_type):
            meta = knob_field.metadata
            options.append(
                Option(
                    name=knob_field.name,
                    section=section.name,
                    type=hints[knob_field.name],
                    default=getattr(defaults, knob_field.name),
                    help=meta["help"],
                    choices=tuple(meta.get("choices", ())),
                    low=meta.get("low"),
                    high=meta.get("high"),
                )
            )
    return tuple(options)


def load_config(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> AdaptConfig:
    """Read the options of `compass adapt`: `load_options` for an AdaptConfig."""
    return load_options(AdaptConfig, path, overrides)


def load_options(
    kind: type[Options], path: Path | None = None, overrides: Mapping[str, object] | None = None
) -> Options:
    """Read options from a YAML file and lay `overrides` (flags, arguments) over them; a None there means "not given".

    Unknown names, wrong types, values out of range and options that do not go together are gathered and raised as one
    ConfigError, each with the file and line or the flag it came from. Advice (see `advice`) is logged as warnings.
    """
    problems: list[str] = []
    options = {option.name: option for option in fields_of(kind)}
    given = _given(path, overrides, options, problems)
    values: dict[str, Any] = {}
    wrong: set[str] = set()
    for name, (value, origin) in given.items():
        try:
            values[name] = _checked(options[name], value)
        except ValueError as error:
            problems.append(f"{origin}: {error}")
            wrong.add(name)
    if isinstance(language := values.get("language"), str):
        values["language"] = language.replace("_", "-")
    config = _build(kind, values, options)
    problems += [problem for names, problem in _conflicts(config) if not wrong.intersection(names)]
    if problems:
        raise ConfigError(problems)
    for line in advice(config):
        logger.warning("%s", line)
    return config


def validate(config: AdaptConfig) -> None:
    """Check a configuration that was built in Python. Raises ConfigError with every problem at once."""
    problems = []
    wrong = set()
    for option in fields_of(type(config)):
        try:
            _checked(option, getattr(getattr(config, option.section), option.name))
        except ValueError as error:
            problems.append(str(error))
            wrong.add(option.name)
    if not wrong:
        problems += [problem for _names, problem in _conflicts(config)]
    if problems:
        raise ConfigError(problems)


def advice(config: AdaptConfig) -> tuple[str, ...]:
    """Return a line for each choice that is allowed but may surprise."""
    lines = []
    training, selection, space, encoder = config.training, config.selection, config.space, config.encoder
    if training.use_dora:
        lines.append(
            "use_dora: vLLM does not serve DoRA adapters; merge the adapter into the base model, or leave use_dora off"
        )
    if training.load_in_4bit:
        lines.append("load_in_4bit: needs a CUDA GPU and the package bitsandbytes (pip install 'compass-peft[4bit]')")
    if training.packing == "on":
        lines.append(
            "packing: 'on' packs rows even where the attention kernel lets them see each other; 'auto' packs only "
            "where it keeps them apart"
        )
    budget = selection.budget
    if isinstance(config, CompareConfig):
        plain, budget = SelectionConfig(), min(config.grid.budgets)
        for name, names in (("strategy", "strategies"), ("budget", "budgets")):
            value, used = getattr(selection, name), getattr(config.grid, names)
            # One file may serve `compass adapt` too, with one of the grid's.
            if value not in (getattr(plain, name), *used):
                lines.append(f"{name}: {value} is not used: a comparison has {names}, {', '.join(map(str, used))} here")
    if selection.budget_unit == "tokens" and budget < training.max_length:
        lines.append(
            f"budget: {budget} tokens are fewer than one row of max_length {training.max_length}; raise "
            "budget, or set budget_unit to examples"
        )
    if space.clustering == "hdbscan" and space.n_clusters:
        lines.append(f"n_clusters: {space.n_clusters} is not used, since HDBSCAN finds the number of clusters itself")
    if encoder.encoder_model and not _is_url(encoder.encoder):
        lines.append(f"encoder_model: {encoder.encoder_model!r} is not used, since encoder is no endpoint's URL")
    if encoder.prompt_name and (encoder.encoder == "embedded" or _is_url(encoder.encoder)):
        lines.append(
            f"prompt_name: {encoder.prompt_name!r} is not used: only sentence-transformers models that are loaded here "
            "have prompts by name"
        )
    return tuple(lines)


def dump_config(config: AdaptConfig) -> str:
    """Return the options as YAML in sections, each under its help; `load_config` reads it back to an equal config."""
    lines = ["# Options of compass. Flags of the same names override them: lora_r is --lora-r."]
    section = ""
    for option in fields_of(type(config)):
        if option.section != section:
            section = option.section
            lines += ["", f"{section}:"]
        limits = f" One of: {', '.join(option.choices)}." if option.choices else ""
        lines.append(f"  # {option.help}{limits}")
        lines.append(f"  {option.name}: {_yaml_value(getattr(getattr(config, section), option.name))}")
    return "\n".join(lines) + "\n"


def changed_flags(config: AdaptConfig, since: AdaptConfig, *, leaving_out: Collection[str] = ()) -> list[str]:
    """Return the command-line flags that make `since` into `config`, both of one type."""
    flags = []
    for option in fields_of(type(config)):
        value, before = (getattr(getattr(c, option.section), option.name) for c in (config, since))
        if value == before or option.name in leaving_out:
            continue
        if isinstance(value, bool):
            flags.append(option.flag if value else option.flag.replace("--", "--no-", 1))
            continue
        parts = [f"{key}={item}" for key, item in value.items()] if isinstance(value, dict) else value
        for part in parts if isinstance(parts, (list, tuple)) else (parts,):
            flags += [option.flag, str(part)]
    return flags


def named_options(
    path: Path | None, overrides: Mapping[str, Any] | None, kind: type[Options], names: Collection[str]
) -> dict[str, Any]:
    """Return the values of those of `names` that a file or a flag names, as `load_options` finds them."""
    given = _given(path, overrides, {option.name: option for option in fields_of(kind)}, [])
    return {name: value for name, (value, _origin) in given.items() if name in names}


def _given(
    path: Path | None, overrides: Mapping[str, Any] | None, options: Mapping[str, Option], problems: list[str]
) -> dict[str, tuple[Any, str]]:
    """Return what file and flags say, with where they say it."""
    given: dict[str, tuple[Any, str]] = {}
    if path is not None:
        for name, value, origin in _read_yaml(path, options, problems):
            given[name] = (value, origin)
    for name, value in (overrides or {}).items():
        if value is None:
            continue
        if name not in options:
            problems.append(_unknown(name, "an override", options))
            continue
        given[name] = (value, options[name].flag)
    return given


def _build(kind: type[Options], values: Mapping[str, Any], options: Mapping[str, Option]) -> Options:
    hints = get_type_hints(kind)
    sections = {
        section.name: hints[section.name](
            **{name: value for name, value in values.items() if options[name].section == section.name}
        )
        for section in fields(kind)
    }
    return kind(**sections)


def _yaml_value(value: Any) -> str:
    import yaml

    plain = list(value) if isinstance(value, tuple) else value
    # PyYAML folds some line separators (U+0085, for one) when it writes them as they are; escaped, all come back.
    for allow_unicode in (True, False):
        text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=allow_unicode, width=math.inf)
        if yaml.safe_load(text) == plain:
            break
    return text.removesuffix("\n").removesuffix("\n...")


def _read_yaml(path: Path, options: Mapping[str, Option], problems: list[str]) -> Iterator[tuple[str, Any, str]]:
    """Yield (name, value, "file:line") of each known option; report what is unknown, misplaced or given twice.

    The node tree is walked instead of `safe_load`'s dict, which has lost the lines and all but the last of two
    equal keys.
    """
    import yaml

    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"the options file {path} cannot be read: {error.strerror}; give the path of a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the options file {path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return
        if not isinstance(root, yaml.MappingNode):
            kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            raise ConfigError(f"{path}: options are written as `name: value` lines; got {kind}")
        sections = {option.section for option in options.values()}
        seen: dict[str, str] = {}
        for section, key_node, value_node in _pairs(root, sections):
            origin = f"{path}:{key_node.start_mark.line + 1}"
            name = key_node.value if isinstance(key_node, yaml.ScalarNode) else "(a list or mapping)"
            if name not in options:
                problems.append(_unknown(name, origin, options))
            elif section and options[name].section != section:
                problems.append(
                    f"{origin}: {name} belongs to the section {options[name].section}, not {section}; move it there"
                )
            elif name in seen:
                problems.append(f"{origin}: {name} is given twice, first in {seen[name]}; keep one of the two")
            else:
                seen[name] = origin
                yield name, loader.construct_object(value_node, deep=True), origin
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    finally:
        loader.dispose()


def _pairs(root: Any, sections: set[str]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (section or "", key node, value node) for flat keys and for those under a section's name."""
    import yaml

    for key_node, value_node in root.value:
        named = isinstance(key_node, yaml.ScalarNode) and key_node.value in sections
        # `encoder` names a section and an option: a mapping makes it the section.
        if named and isinstance(value_node, yaml.MappingNode):
            for inner_key, inner_value in value_node.value:
                yield key_node.value, inner_key, inner_value
        elif named and value_node.tag == "tag:yaml.org,2002:null":
            continue
        else:
            yield "", key_node, value_node


def _unknown(name: str, origin: str, options: Mapping[str, Option]) -> str:
    near = difflib.get_close_matches(name.lower().lstrip("-").replace("-", "_"), options, n=1)
    hint = f"did you mean {near[0]}?" if near else "compass adapt --help lists all options"
    return f"{origin}: there is no option {name!r}; {hint}"


def _checked(option: Option, value: Any) -> Any:
    """Return `value` in the option's type. Raises ValueError with the rule it breaks."""
    if value is None:
        raise ValueError(f"{option.name} has no value; give one, or remove the line to keep {option.default!r}")
    if option.type is bool:
        return _bool(option.name, value)
    if option.type is int or option.type is float:
        return _number(option, value)
    if option.type == tuple[str, ...]:
        items = [value] if isinstance(value, (str, bool, int, float)) else value
        if not isinstance(items, (list, tuple)):
            raise ValueError(f"{option.name} must be a list of texts; got {value!r}")
        return tuple(_choice(option, item) for item in items)
    if option.type == tuple[int, ...]:
        items = value.split(",") if isinstance(value, str) else [value] if isinstance(value, (int, float)) else value
        if not isinstance(items, (list, tuple)):
            raise ValueError(f"{option.name} must be a list of whole numbers; got {value!r}")
        return tuple(int(_number(dataclasses.replace(option, type=int), item)) for item in items)
    if option.type == dict[str, str]:
        return _mapping(option.name, value)
    if isinstance(value, bool) and {"on", "off"} <= set(option.choices):
        # YAML 1.1 reads an unquoted on and off as truth values.
        value = "on" if value else "off"
    return _choice(option, value)


def _choice(option: Option, value: Any) -> str:
    text = _text(option.name, value)
    if option.choices and text not in option.choices:
        raise ValueError(f"{option.name} must be one of {', '.join(option.choices)}; got {text!r}")
    return text


def _bool(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(f"{name} must be true or false; got {value!r}")


def _number(option: Option, value: Any) -> int | float:
    kind = "a whole number" if option.type is int else "a number"
    number: Any = value
    if isinstance(value, str):
        # PyYAML reads 5e-4 as text: YAML 1.1 wants 5.0e-4.
        try:
            number = int(value) if option.type is int else float(value)
        except ValueError:
            raise ValueError(f"{option.name} must be {kind}; got {value!r}") from None
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueError(f"{option.name} must be {kind}; got {value!r}")
    if not math.isfinite(number) or (option.type is int and number != int(number)):
        raise ValueError(f"{option.name} must be {kind}; got {value!r}")
    if option.low is not None and number < option.low:
        raise ValueError(f"{option.name} must be at least {option.low:g}; got {value!r}")
    if option.high is not None and number > option.high:
        raise ValueError(f"{option.name} must be at most {option.high:g}; got {value!r}")
    return int(number) if option.type is int else float(number)


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        norwegian = (
            ' For Norwegian write language: "no", in quotes, or better nb or nn.'
            if name == "language" and not value
            else ""
        )
        raise ValueError(
            f"{name} must be a text; got the truth value {str(value).lower()}. YAML reads an unquoted no, off, yes or "
            f"on as a truth value; put the text in quotes.{norwegian}"
        )
    raise ValueError(f"{name} must be a text; got {value!r}. Put it in quotes")


def _mapping(name: str, value: Any) -> dict[str, str]:
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, (list, tuple)):
        pairs = [str(item).partition("=") for item in value]
        if not all(key.strip() and equals for key, equals, theirs in pairs):
            raise ValueError(f"{name} must be written as ours=theirs; got {value!r}")
        return {key.strip(): theirs.strip() for key, _equals, theirs in pairs}
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must map names to names; got {value!r}")
    return {_text(name, key): _text(name, theirs) for key, theirs in value.items()}


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _conflicts(config: AdaptConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (names of the options involved, problem) for options that are wrong together or cannot be empty."""
    if isinstance(config, CompareConfig):
        for name in ("strategies", "budgets", "seeds"):
            values = getattr(config.grid, name)
            if not values:
                yield (name,), f"{name} must not be empty: there would be nothing to compare"
            if len(set(values)) < len(values):
                yield (name,), f"{name} must not name the same value twice; got {', '.join(map(str, values))}"
    run, data, encoder, space = config.run, config.data, config.encoder, config.space
    selection, training = config.selection, config.training
    required: dict[str, str | tuple[str, ...]] = {
        "output_dir": run.output_dir,
        "usage": data.usage,
        "current": data.current,
        "pool": data.pool,
        "encoder": encoder.encoder,
        "strategy": selection.strategy,
        "model_name_or_path": training.model_name_or_path,
        "lora_target_modules": training.lora_target_modules,
    }
    if isinstance(config, (RegistryOptions, WatchOptions)):
        required["registry_dir"] = config.registry.registry_dir
    if isinstance(config, WatchOptions):
        required["watch_dir"] = config.watch.watch_dir
    for name, value in required.items():
        if not value:
            yield (name,), f"{name} must not be empty; its default is {_default(type(config), name)!r}"
    if data.usage == "none":
        yield ("usage",), "usage must be a source: without a sample of usage there is no gap to fill; got 'none'"
    parts = {name.partition(".")[0] for name in data.columns if "." in name}
    if unknown := sorted(parts - set(COLUMN_SETS)):
        yield ("columns",), f"columns: {unknown[0]!r} is no set of rows; before the dot goes {', '.join(COLUMN_SETS)}"
    if not re.fullmatch(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", data.language):
        yield ("language",), f"language must be a BCP-47 tag such as cy, zh-Hans or pt-BR; got {data.language!r}"
    if _is_url(encoder.encoder) and not encoder.encoder_model:
        yield (
            ("encoder", "encoder_model"),
            f"encoder_model must name the model to ask the endpoint {encoder.encoder} for; it is empty",
        )
    if space.n_clusters == 1:
        yield ("n_clusters",), "n_clusters must be 0 (chosen by the data) or at least 2; got 1"
    if space.n_clusters > space.fit_sample:
        yield (
            ("n_clusters", "fit_sample"),
            f"n_clusters must not exceed fit_sample; got {space.n_clusters} clusters from {space.fit_sample} rows",
        )
    if selection.language_cap == 0.0:
        yield ("language_cap",), "language_cap must be above 0, or no row can be picked; got 0.0 (1 is no cap)"
    elif selection.budget_unit == "examples" and selection.language_cap * selection.budget < 1:
        yield (
            ("language_cap", "budget"),
            f"language_cap times budget must be at least 1, or no row can be picked; got {selection.language_cap:g} x "
            f"{selection.budget}. Raise either (language_cap 1 is no cap)",
        )
    if training.use_dora and training.averaged_trainings > 1:
        yield (
            ("use_dora", "averaged_trainings"),
            "averaged_trainings: DoRA adapters can't be averaged; leave use_dora off, or averaged_trainings at 1",
        )
    rank = training.lora_r * training.averaged_trainings
    if training.lora_r <= training.max_serving_rank < rank:
        yield (
            ("lora_r", "averaged_trainings", "max_serving_rank"),
            f"averaged_trainings times lora_r is the rank of the adapter that is served: {rank}, above "
            f"max_serving_rank {training.max_serving_rank}. Lower one of the two, or raise it if your server can",
        )
    if training.lora_r > training.max_serving_rank:
        yield (
            ("lora_r", "max_serving_rank"),
            f"lora_r must not exceed max_serving_rank, or the server refuses the adapter; got {training.lora_r} and "
            f"{training.max_serving_rank}. Lower lora_r, or raise max_serving_rank if your server takes more "
            "(vLLM: --max-lora-rank)",
        )
    if training.num_train_epochs == 0.0 and training.max_steps <= 0:
        yield (
            ("num_train_epochs", "max_steps"),
            f"num_train_epochs or max_steps must be above 0; got 0 epochs and {training.max_steps} steps",
        )


def _default(kind: type[AdaptConfig], name: str) -> Any:
    return next(option.default for option in fields_of(kind) if option.name == name)


@dataclass(frozen=True)
class UpdateMethod:
    """What an update is made of."""

    explanation: str
    fresh: bool = False
    """Train a new adapter instead of going on from the serving one."""
    all_history: bool = False
    """Train on the whole history besides the new rows."""
    penalty: bool = False
    """Add the EWC penalty λ · L_EWC."""
    replay: str = ""
    """Add the replay loss β · L_DAR on anchors that are drawn by `anchor_rule` ("anchors") or uniformly ("random")."""
    merge: bool = False
    """Merge the serving adapter and the one trained from it."""


UPDATE_METHODS: Mapping[str, UpdateMethod] = {
    "naive": UpdateMethod("Go on from the serving adapter on the new rows alone: adapts most, forgets most."),
    "ewc": UpdateMethod("naive with a penalty on moving weights that the history needs.", penalty=True),
    "replay-random": UpdateMethod(
        "naive with a replay loss on rows drawn uniformly from the history.", replay="random"
    ),
    "replay": UpdateMethod("naive with a replay loss on anchors: strata of period and cluster.", replay="anchors"),
    "ecda": UpdateMethod("Penalty and anchored replay together: the paper's method.", penalty=True, replay="anchors"),
    "retrain": UpdateMethod("A new adapter on all history and the new rows: the costly yardstick.", True, True),
    "merge": UpdateMethod("naive, then merged with the serving adapter by TIES or DARE.", merge=True),
}
"""The ways to update an adapter, by name."""

MERGE_TYPES = ("ties", "ties_svd", "dare_ties", "dare_ties_svd", "dare_linear_svd", "svd", "cat")
"""peft's ways to merge, without those that add up A and B apart and then multiply the sums (`linear`, `dare_linear`):
two equal adapters of weight 1/2 each come out of them twice as strong."""


@dataclass(frozen=True)
class UpdateConfig:
    """How an adapter follows new usage, and what keeps it from forgetting."""

    method: str = knob("replay", "Way to update the adapter.", choices=tuple(UPDATE_METHODS))
    ewc_lambda: float = knob(2.0, "Weight of the EWC penalty, λ.", low=0.0)
    replay_weight: float = knob(1.0, "Weight of the replay loss, β.", low=0.0)
    replay_batch_size: int = knob(4, "Anchors beside each batch of new rows.", low=1)
    anchor_share: float = knob(0.05, "Share of the history that is kept as anchors.", low=0.0, high=1.0)
    min_anchors: int = knob(64, "Fewest anchors, as far as the history has rows for them.", low=0)
    max_anchors: int = knob(2000, "Most anchors, however long the history.", low=1)
    anchor_rule: str = knob(
        "clusters",
        "Anchors within a stratum of period and cluster: by seed, or those with the highest loss first.",
        choices=("clusters", "loss"),
    )
    fisher_mode: str = knob(
        "accumulated",
        "Fisher information of the latest version alone, or added up over versions.",
        choices=("latest", "accumulated"),
    )
    fisher_decay: float = knob(1.0, "What is kept of earlier versions' Fisher information.", low=0.0, high=1.0)
    fisher_rows: int = knob(500, "Rows that the Fisher information is measured on, at most.", low=1)
    ema_decay: float = knob(
        0.0, "Save a slow copy: its decay a step; 0 saves the last weights.", low=0.0, high=0.999999
    )
    merge_type: str = knob("ties", "How peft merges in method `merge`.", choices=MERGE_TYPES)
    merge_density: float = knob(0.5, "Share of the entries that TIES and DARE keep.", low=0.01, high=1.0)


@dataclass(frozen=True)
class MonitorConfig:
    """How production prompts are watched for drift, and what is kept of them."""

    prompts_per_false_alarm: int = knob(
        10_000, "Without drift, at most one false alarm is expected in so many prompts, all tests together.", low=100
    )
    window: int = knob(
        500, "Prompts of one language that are compared with the reference; a multiple of `look_every`.", low=20
    )
    look_every: int = knob(100, "Prompts of one language between two looks at its window.", low=1)
    share_histogram: float = knob(
        0.5, "Share of the false alarms granted to the histogram; 0 is off.", low=0.0, high=1.0
    )
    share_vectors: float = knob(
        0.2, "Share of the false alarms granted to the test on the vectors; 0 is off.", low=0.0, high=1.0
    )
    share_novelty: float = knob(
        0.1, "Share of the false alarms granted to the novelty rate; 0 is off.", low=0.0, high=1.0
    )
    share_languages: float = knob(
        0.1, "Share of the false alarms granted to the mix of languages; 0 is off.", low=0.0, high=1.0
    )
    share_loss: float = knob(
        0.1, "Share of the false alarms granted to the loss on labelled feedback; 0 is off.", low=0.0, high=1.0
    )
    novelty_tail: float = knob(
        0.05, "Share of the reference that counts as far from every cluster.", low=0.001, high=0.5
    )
    vector_rows: int = knob(
        300, "Vectors of a window that the test on vectors takes, at most; kept in memory alone.", low=20
    )
    feedback_window: int = knob(200, "Labelled prompts that are compared with the reference's losses.", low=20)
    reservoir: str = knob(
        "off",
        "Prompts kept for the next update: none, with private data replaced, or as they are.",
        choices=("off", "redacted", "full"),
    )
    reservoir_size: int = knob(1000, "Prompts kept of each language, at most.", low=1)
    retention_days: float = knob(30.0, "Days after which a kept prompt is deleted.", low=0.0)
    monitor_batch_size: int = knob(256, "Prompts in one batch: encoded together, counted in one transaction.", low=1)
    database: str = knob("", "SQLAlchemy URL of the state; empty: monitor/state.db in the run folder.")


@dataclass(frozen=True)
class RegistryConfig:
    """Where versions are kept, and how many."""

    registry_dir: str = knob("registry", "Folder of the registry.")
    lock_timeout: float = knob(30.0, "Seconds to wait for another process at work in the registry.", low=0.0)
    keep_versions: int = knob(5, "Newest versions of a language that `prune` keeps.", low=0)
    leave_out: tuple[str, ...] = knob((), "Files of the run folder to keep out of versions (`selection/map.parquet`).")
    mlflow_uri: str = knob("", "MLflow registry to mirror into (`sqlite:///mlflow.db`); empty: none.")


GATE_ROLES = ("new-usage", "old-usage", "period", "english")
"""What a held-out set may stand for at the gate."""


@dataclass(frozen=True)
class GateConfig:
    """What an update has to show before it is promoted. Differences are in the unit of the scores: 0.02 is 2 points."""

    gate_level: float = knob(0.05, "Chance of a wrong promotion at the margin: level of each test.", low=1e-6, high=0.5)
    min_improvement: float = knob(0.0, "What the new usage has to gain more than.", low=0.0)
    tolerance_old_usage: float = knob(0.03, "What the old usage may lose at most.", low=0.0)
    tolerance_period: float = knob(0.03, "What each earlier period may lose at most.", low=0.0)
    tolerance_english: float = knob(0.03, "What English may lose at most.", low=0.0)
    gate_requires: tuple[str, ...] = knob(
        ("new-usage", "old-usage", "english"),
        "Roles without which there is never enough evidence.",
        choices=GATE_ROLES,
    )
    gate_min_rows: int = knob(20, "Rows, or units, below which a test never passes.", low=2)
    gate_power: float = knob(0.8, "Power at which the rows still needed are reckoned.", low=0.5, high=0.99)
    gate_draws: int = knob(4000, "Bootstrap draws behind a test of scores other than right or wrong.", low=200)


HOOK_EVENTS = ("drift", "update", "promotion", "refusal")
"""What hooks can be told of."""


@dataclass(frozen=True)
class HookConfig:
    """Whom to tell of drift, updates, promotions and refusals."""

    webhook_url: str = knob("", "Address that gets each event as JSON by POST; empty: none.")
    webhook_secret_env: str = knob("COMPASS_WEBHOOK_SECRET", "Environment variable with the secret of the signature.")
    webhook_timeout: float = knob(10.0, "Seconds to wait for the webhook in one attempt.", low=0.1)
    webhook_attempts: int = knob(5, "Attempts to deliver an event to the webhook.", low=1)
    hook_command: str = knob("", "Shell command that gets each event as JSON on stdin; empty: none.")
    hook_command_timeout: float = knob(60.0, "Seconds after which the shell command is ended.", low=0.1)
    hook_events: tuple[str, ...] = knob(HOOK_EVENTS, "Events that hooks are called on.", choices=HOOK_EVENTS)


@dataclass(frozen=True)
class MonitorOptions(AdaptConfig):
    """All options of `compass monitor`."""

    monitor: MonitorConfig = field(default_factory=MonitorConfig)


@dataclass(frozen=True)
class UpdateOptions(AdaptConfig):
    """All options of `compass update`."""

    update: UpdateConfig = field(default_factory=UpdateConfig)


@dataclass(frozen=True)
class RegistryOptions(AdaptConfig):
    """All options of `compass registry`."""

    registry: RegistryConfig = field(default_factory=RegistryConfig)
    gate: GateConfig = field(default_factory=GateConfig)


@dataclass(frozen=True)
class TasksConfig:
    """How lm-eval's tasks are run."""

    num_fewshot: int = knob(
        0, "Examples before each question; -1: as the task says. Rows of the usage sample are refused.", low=-1
    )
    limit: int = knob(0, "Rows of each task, at most, for a trial; 0: all.", low=0)
    task_batch_size: int = knob(8, "Requests in one batch.", low=1)
    task_max_length: int = knob(0, "Tokens of context; 0: as the model's configuration says.", low=0)
    apply_chat_template: bool = knob(False, "Put questions into the model's chat template.")
    include_path: str = knob("", "Folder with further task files, such as those made of local data.")
    oneruler: str = knob("", "Folder of OneRuler's repository; tasks `oneruler_...` are made of it.")
    oneruler_rows: int = knob(50, "Prompts of each of OneRuler's tasks.", low=1)


@dataclass(frozen=True)
class TaskOptions(AdaptConfig):
    """All options of `compass evaluate --tasks`."""

    tasks: TasksConfig = field(default_factory=TasksConfig)


@dataclass(frozen=True)
class WatchConfig:
    """When drift leads to an update, what the update is made of, and where the loop keeps its state."""

    watch_dir: str = knob("watch", "Folder of the loop: its state, and an update while it is made.")
    status_page: str = knob("", "HTML file that is rewritten after each event; empty: status.html in watch_dir.")
    updates_per_day: int = knob(2, "Updates that may start in 24 hours; 0 only watches.", low=0)
    quiet_hours: float = knob(6.0, "Hours after an update in which no other starts.", low=0.0)
    prompts_after_drift: int = knob(
        500, "Prompts since the alarm before an update starts, so that its usage is the new one.", low=0
    )
    min_usage_rows: int = knob(
        50, "Rows of new usage below which no update is made: they are the next reference too.", low=30
    )
    update_usage: str = knob("", "Source of new usage; empty: the newest prompts that the monitor's reservoir kept.")
    update_current: str = knob("", "Source of new training rows in the language; empty: none.")
    update_test: str = knob(
        "", "Source of held-out new usage with responses; empty: half of the new usage that has a response."
    )
    gate_rows: int = knob(200, "Rows of each test set that an update is measured on, at most.", low=20)


@dataclass(frozen=True)
class WatchOptions(AdaptConfig):
    """All options of `compass watch`; those of `compass adapt` that are given change the updates."""

    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    hooks: HookConfig = field(default_factory=HookConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
