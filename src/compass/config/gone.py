"""Options of earlier versions that are no more, and what replaces each.

In a user's file, or as a flag, such an option is refused with what replaces it, unless it says what was the default.
In the folder of an earlier run it is translated where something replaces it, and else left out: a folder is read and
never refused. An option that still is one is not gone, whatever is said here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from compass.config.strategy import strategy_text, written


@dataclass(frozen=True, slots=True)
class Gone:
    """An option that is no more."""

    default: Any
    instead: str
    """A sentence for people: what to do instead."""
    renamed: str = ""
    """Name of the option that it is now, with the same values."""
    parameter: tuple[str, str] = ("", "")
    """Strategy whose parameter it is now, and the name of that."""
    role: str = ""
    """Role whose `tolerance` it is now."""

    @property
    def what_happened(self) -> str:
        """Say what became of the option and what to do instead, to follow its name."""
        return f"was {f'renamed to {self.renamed}' if self.renamed else 'removed'}. {self.instead}"

    def is_default(self, value: Any) -> bool:
        """Say whether a value, perhaps as text, is what the default was."""
        if isinstance(self.default, bool) or isinstance(value, bool):
            return str(value).lower() == str(self.default).lower()
        try:
            return float(value) == float(self.default)
        except (TypeError, ValueError):
            return bool(value == self.default)


def _renamed(default: Any, name: str) -> Gone:
    return Gone(default, f"Write {name}.", renamed=name)


def _constant(default: float) -> Gone:
    return Gone(default, f"It is always {default:g} now.")


def _parameter(default: Any, strategy: str, name: str) -> Gone:
    return Gone(
        default, f"It is a parameter of the strategy: write {strategy}:{name}=... as the strategy.",
        parameter=(strategy, name),
    )  # fmt: skip


def _tolerance(role: str) -> Gone:
    return Gone(0.03, f"Write it into tolerance: --tolerance {role}=..., or tolerance: {{{role}: ...}}.", role=role)


GONE: Mapping[str, Gone] = {
    "draw_window": Gone(0, "The strategy chooses it by itself. Leave it out."),
    "answer_cap": Gone(0.15, "There is no cap per class any more. Leave it out."),
    "answer_weight": Gone(0.3, "Classes have quotas, and no bonus any more. Leave it out."),
    "answer_quotas": Gone(
        True, "Write compass:class_quotas=false as the strategy to pick without class quotas.",
        parameter=("compass", "class_quotas"),
    ),
    "smoothing": Gone(0.0, "Shares of clusters are counted without pseudo-rows. Leave it out."),
    "neighbours": _parameter(3, "nearest", "neighbours"),
    "less_warmup_share": _parameter(0.05, "less", "warmup_share"),
    "less_max_pool": _parameter(5000, "less", "max_pool"),
    "transfer_results": _parameter("", "langrank", "transfer_results"),
    "given_picks": _parameter("", "given", "picks"),
    "current_weight": Gone(1, "Training rows and picked rows weigh the same. Leave it out."),
    "answer_balance": _renamed(5, "class_balance"),
    "update_current": _renamed("", "update_train"),
    "assist_setting": Gone("skewed", "Write assist:disjoint as the source, for usage, train and pool."),
    "decontamination_ngram": _constant(8),
    "encoder_api_key_env": Gone("COMPASS_API_KEY", "The key is read from the environment variable COMPASS_API_KEY."),
    "ema_decay": Gone(0.0, "Use tail_average: the mean weights of the last steps."),
    "anchor_rule": Gone("clusters", "Anchors are drawn by the seed within each period and cluster. Leave it out."),
    "fisher_mode": Gone("accumulated", "Fisher information is added up over versions. Leave it out."),
    "fisher_decay": Gone(1.0, "Fisher information of earlier versions is kept whole. Leave it out."),
    "merge_type": Gone("ties", "The method merge uses TIES. Leave it out."),
    "merge_density": Gone(0.5, "TIES keeps half of the entries. Leave it out."),
    "share_histogram": _constant(0.5),
    "share_vectors": _constant(0.2),
    "share_novelty": _constant(0.1),
    "share_languages": _constant(0.1),
    "share_loss": _constant(0.1),
    "novelty_tail": _constant(0.05),
    "vector_rows": _constant(300),
    "feedback_window": _constant(200),
    "look_every": _constant(100),
    "tolerance_old_usage": _tolerance("old-usage"),
    "tolerance_period": _tolerance("period"),
    "tolerance_english": _tolerance("english"),
    "gate_power": _constant(0.8),
    "gate_draws": _constant(4000),
    "bootstrap_draws": _constant(2000),
    "permutations": _constant(10_000),
    "lock_timeout": _constant(30.0),
    "webhook_timeout": _constant(10.0),
    "webhook_attempts": _constant(5),
    "hook_command_timeout": _constant(60.0),
    "webhook_secret_env": Gone(
        "COMPASS_WEBHOOK_SECRET", "The secret is read from the environment variable COMPASS_WEBHOOK_SECRET."
    ),
}  # fmt: skip
"""Name of each option that is no more -> what replaces it."""

RECORDED = {
    "DataConfig": ("assist_setting", "decontamination_ngram"),
    "EncoderConfig": ("encoder_api_key_env",),
    "SelectionConfig": (
        "draw_window", "answer_cap", "answer_weight", "answer_quotas", "transfer_results", "given_picks",
        "less_warmup_share", "less_max_pool", "smoothing", "neighbours",
    ),
    "TrainingConfig": ("current_weight",),
    "EvaluationConfig": ("bootstrap_draws",),
    "UpdateConfig": ("anchor_rule", "fisher_mode", "fisher_decay", "ema_decay", "merge_type", "merge_density"),
}  # fmt: skip
"""Section -> its options that are no more."""


LATER: Mapping[str, Mapping[str, Any]] = {
    "EncoderConfig": {"encoder_dtype": "auto"},
    "SelectionConfig": {"prefilter": 0},
    "TrainingConfig": {"num_processes": 1},
}
"""Section -> options that came after version 0.1, with the value that does what it did; that value isn't recorded."""

RENAMED = {"train": "current", **{gone.renamed: name for name, gone in GONE.items() if gone.renamed}}
"""Option of today -> what version 0.1 called it."""


BATCH = "per_device_eval_batch_size"
"""An answer does not depend on its batch, but for rounding: records hold the default of version 0.1."""


def recorded(section: Any) -> dict[str, Any]:
    """Return a section's options as the records of finished stages name them.

    Those that are no more are among them, at their defaults: what version 0.1 finished is not done again.
    """
    gone = {name: GONE[name].default for name in RECORDED.get(type(section).__name__, ())}
    values = asdict(section)
    for name, default in LATER.get(type(section).__name__, {}).items():
        if values[name] == default:
            del values[name]
    if BATCH in values:
        values[BATCH] = 32
    if len(train := values.get("train", ())) == 1:
        # Version 0.1 had one source of training data.
        values["train"] = train[0]
    if "columns" in values:
        values["columns"] = {
            re.sub("^train[.]", "current.", ours): theirs for ours, theirs in values["columns"].items()
        }
    return gone | {RENAMED.get(name, name): value for name, value in values.items()}


SOURCES = ("usage", "train", "pool", "test", "retention_tests")
"""Options that name sources."""


def translated(values: Mapping[str, Any], gone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of an earlier run's folder as options of today.

    values: what the folder says of options that are there today. gone: what it says of those that are no more.
    """
    changed = {name: value for name, value in gone.items() if not GONE[name].is_default(value)}
    found = dict(values)
    for name, value in changed.items():
        if own := GONE[name].renamed:
            found[own] = value
        elif role := GONE[name].role:
            found["tolerance"] = {**found.get("tolerance", {}), role: value}
    parameters = {GONE[name].parameter: value for name, value in changed.items() if GONE[name].parameter[0]}
    if "strategy" in found:
        found["strategy"] = _with_parameters(found["strategy"], parameters)
    if "strategies" in found:
        found["strategies"] = [_with_parameters(strategy, parameters) for strategy in found["strategies"]]
    if changed.get("assist_setting") == "disjoint":
        found |= {name: _disjoint(found[name]) for name in SOURCES if name in found}
    return found


def _with_parameters(strategy: Any, parameters: Mapping[tuple[str, str], Any]) -> Any:
    own = {name: value for (owner, name), value in parameters.items() if owner == strategy}
    return written(strategy, own) if own else strategy_text(strategy)


def _disjoint(sources: Any) -> Any:
    if isinstance(sources, (list, tuple)):
        return [_disjoint(source) for source in sources]
    return "assist:disjoint" if sources == "assist" else sources
