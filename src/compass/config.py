"""Every knob once: its name, type, default, unit and one line of help.

The same names serve as YAML keys, command-line flags and Python arguments. A YAML file may group them under the
section names (`data:`, `encoder:`, ...) or list them flat; every name is unique across sections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True)
class DataConfig:
    """What is read. A source is a file (.jsonl, .json, .csv, .parquet, also .gz), a folder saved by `datasets`,
    `hub:NAME[@REVISION][:SPLIT]`, or `assist`, the embedded data set."""

    language: str = knob("cy", "Target language, BCP-47 (`cy`, `zh-Hans`, `pt-BR`).")
    usage: str = knob("assist", "Sample of real usage in the target language (prompts suffice).")
    current: str = knob("assist", "Training data at hand in the target language; `none` when there is none.")
    pool: tuple[str, ...] = knob(("assist",), "Multilingual pool to choose from; one or more sources.")
    test: str = knob("", "Held-out usage with responses; empty: half of the usage rows are held out.")
    retention_tests: tuple[str, ...] = knob((), "More test files, each a language where nothing should be lost.")
    columns: dict[str, str] = knob({}, "Column mapping as ours=theirs (`prompt=question`).")
    streaming: bool = knob(False, "Stream hub data sets instead of downloading them whole.")
    identify_languages: bool = knob(True, "Identify the language of rows that carry no tag.")
    decontaminate: bool = knob(True, "Drop pool rows that overlap with the tests or the held-out usage.")
    decontamination_ngram: int = knob(8, "Words a shared n-gram has to have to count as overlap.", low=3)
    near_duplicates: float = knob(0.9, "Jaccard similarity from which two pool rows are near duplicates; 1 is off.", low=0.5, high=1.0)
    max_chars: int = knob(8000, "Longest row, prompt and response together, in characters.", low=1)
    assist_setting: str = knob("skewed", "Embedded data: `skewed` (a few rows of each needed intent at hand) or `disjoint` (none).", choices=("skewed", "disjoint"))


@dataclass(frozen=True)
class EncoderConfig:
    """How texts become vectors."""

    encoder: str = knob("embedded", "`embedded`, a sentence-transformers name or folder, or the URL of a /v1/embeddings endpoint.")
    encoder_revision: str = knob("", "Revision of the hub model, or the version to note for an endpoint.")
    encoder_model: str = knob("", "Model name to send to the endpoint.")
    prompt_name: str = knob("", "sentence-transformers prompt to put before each text.")
    encoder_batch_size: int = knob(64, "Texts in one encoder call.", low=1)
    encoder_device: str = knob("", "Device of the encoder; empty: chosen by the library.")
    encoder_api_key_env: str = knob("COMPASS_API_KEY", "Environment variable that holds the endpoint's key.")


@dataclass(frozen=True)
class SpaceConfig:
    """The semantic space: language removal and clusters."""

    language_removal: str = knob("within-cluster", "What is removed of each language before clustering.", choices=("within-cluster", "mean", "none"))
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
    duplicate_similarity: float = knob(0.98, "Cosine from which a pick repeats an earlier pick and is passed over; 1 is off.", low=0.5, high=1.0)
    smoothing: float = knob(0.0, "Pseudo-count added to every cluster before shares are taken.", low=0.0)
    neighbours: int = knob(3, "Nearest usage rows that score a pool row.", low=1)


@dataclass(frozen=True)
class TrainingConfig:
    """The adapter and how it is trained; names as in trl and peft."""

    model_name_or_path: str = knob("embedded:gemma3-270m", "Base model: hub name, folder, `embedded:gemma3-270m` or `embedded:smollm2-135m`.")
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
    num_train_epochs: float = knob(3.0, "Passes over the training rows.", low=0.0)
    max_steps: int = knob(-1, "Optimiser steps; overrides the epochs when positive.")
    per_device_train_batch_size: int = knob(8, "Rows in one batch on one device.", low=1)
    gradient_accumulation_steps: int = knob(1, "Batches in one optimiser step.", low=1)
    lr_scheduler_type: str = knob("linear", "Learning-rate schedule.")
    warmup_steps: float = knob(0.1, "Warm-up in steps, or in shares of the run when below 1.", low=0.0)
    weight_decay: float = knob(0.0, "Weight decay of the adapter.", low=0.0)
    max_grad_norm: float = knob(1.0, "Gradient norm to clip at.", low=0.0)
    max_length: int = knob(512, "Tokens of the longest row; longer rows are cut.", low=8)
    packing: str = knob("auto", "Several rows in one sequence: `auto` only where the attention kernel keeps them apart.", choices=("auto", "on", "off"))
    gradient_checkpointing: bool = knob(False, "Recompute activations to save memory.")
    dtype: str = knob("auto", "`auto` (bfloat16 on GPUs, else float32), `float32` or `bfloat16`.", choices=("auto", "float32", "bfloat16"))
    current_repeats: int = knob(1, "How often each row of the data at hand is seen in an epoch.", low=1)
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
