"""All calls into compass that the frozen values need. Adapt this module, and nothing else here, when names change.

Each function takes a draw of plain arrays and returns plain numbers, texts, lists and dicts. What goes in and what
comes out must stay as they are: a different signature in compass is translated here, a different result is not.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from compass.config import GateConfig, MonitorConfig
from compass.config.gone import GONE
from compass.drift import Check, DriftEvent, Monitor, Reference
from compass.drift.tests.histogram import HistogramTest
from compass.drift.tests.languages import LanguagesTest
from compass.drift.tests.loss import LossTest
from compass.drift.tests.mmd import VectorsTest
from compass.drift.tests.novelty import NoveltyTest
from compass.registry import HeldOut
from compass.registry.gate import decide
from compass.selection import (
    Candidates,
    Features,
    Gradients,
    ModelVectors,
    Ngrams,
    TransferResult,
    Typology,
    get_strategy,
)
from compass.semantic import SemanticSpace
from compass.training.retention.anchors import draw_anchors
from frozen import draws

STRATEGIES = (
    "compass", "compass-paper", "nearest", "crisp", "tsds", "rds", "less", "dsir", "langsim", "langrank", "family",
    "english", "random", "topic-random", "all", "target-only", "given", "only-de",
)  # fmt: skip
"""The strategies of version 0.1, and one of those that are made by name."""


def strategies() -> list[str]:
    """Return the names of the strategies that have frozen values."""
    return list(STRATEGIES)


NOTES_OF_0_1 = {
    "passed over: its language had reached the language cap": "passed over: its language had its share",
    "taken above the language cap": "taken above the language cap: no other supply in its cluster",
    "taken although a near duplicate of an earlier pick": "taken although a near duplicate: no other supply",
}
WHY_OF_0_1 = {
    "there is no training data": "there is no data at hand",
    "too many responses are free text": "too many answers are free text",
    "the class does not follow from the prompt": "prompts do not tell the kind of their answer",
    "the training data has one class": "the data at hand has answers of one kind alone",
}
NO_CLASS_QUOTAS = "usage rows served without class quotas: "
NO_CLASS_QUOTAS_IN_0_1 = "usage rows that take turns without quotas by kind of answer: "


GATE_WORDS_OF_0_1 = (
    (r"The candidate does worse than allowed on (.*)", r"It is shown not to hold on \1"),
    (
        r"New usage improves, and no test set loses too much: (\d+) tests passed\.",
        r"New usage gains, and no loss beyond its tolerance in \1 tests.",
    ),
    (r"It takes at least (\d+) rows", r"At least \1 rows are asked for"),
    (
        r"All rows differ by (\S+)\. Only rows with other differences show the spread\.",
        r"Every row differs by \1: rows that differ otherwise are needed to tell the spread.",
    ),
    (r"if all of them differ by (\S+), as so far\.", r"if, as up to now, all of them differ by \1."),
    (
        r"The measured gain (\S+) is not above (\S+)\. More rows alone will not show one\.",
        r"No gain beyond -\2 was measured \1: more rows alone won't show one.",
    ),
    (
        r"The measured loss (.*)\. If in fact nothing is lost",
        r"The measured difference \1. If in truth nothing is lost",
    ),
    (
        r"No test set has the role (\S+)\. Hold out rows for it, or",
        r"Nothing is held out for \1: hold out rows, or",
    ),
)


def _gate_words(text: str) -> str:
    """Return how version 0.1 put a reason or an advice of the gate."""
    for now, before in GATE_WORDS_OF_0_1:
        text = re.sub(now, before, text)
    return text


def _note(note: str) -> str:
    """Return what version 0.1 called a note."""
    if note.startswith(NO_CLASS_QUOTAS):
        return NO_CLASS_QUOTAS_IN_0_1 + WHY_OF_0_1[note.removeprefix(NO_CLASS_QUOTAS)]
    return NOTES_OF_0_1.get(note, note)


def select(strategy: str, draw: draws.SelectionDraw, budget: int, unit: str, seed: int) -> dict[str, Any]:
    """Pick rows with the options of the default configuration."""
    found = get_strategy(strategy).select(_candidates(draw, unit), budget, seed)
    account = found.classes
    return {
        "indices": found.indices.tolist(),
        "scores": found.scores.tolist(),
        "demand": found.demand.tolist(),
        "supply": found.supply.tolist(),
        "picked": found.picked.tolist(),
        "unmet": found.unmet.tolist(),
        "spent": found.spent,
        "shortfall": found.shortfall,
        "notes": dict(sorted((_note(note), n) for note, n in found.notes.items())),
        "answers": account
        and {
            "kinds": account.classes.tolist(),
            "expected": account.expected.tolist(),
            "at_hand": account.train.tolist(),
            "supply": account.supply.tolist(),
            "quotas": account.quotas.tolist(),
            "picked": account.picked.tolist(),
        },
    }


@lru_cache(maxsize=4)
def _candidates(draw: draws.SelectionDraw, unit: str) -> Candidates:
    return Candidates(
        usage=draw.usage,
        train=draw.current,
        pool=draw.pool,
        usage_clusters=draw.usage_clusters,
        train_clusters=draw.current_clusters,
        pool_clusters=draw.pool_clusters,
        n_clusters=draw.n_clusters,
        pool_languages=draw.pool_languages,
        pool_costs=draw.pool_tokens if unit == "tokens" else np.ones(len(draw.pool), dtype=np.int64),
        target_language=draw.target_language,
        unit=unit,
        train_classes=draw.current_answers,
        pool_classes=draw.pool_answers,
        features=Features(
            ngrams=Ngrams(csr_matrix(draw.usage_ngrams), csr_matrix(draw.pool_ngrams)),
            model_vectors=ModelVectors(draw.usage_model_vectors, draw.pool_model_vectors),
            gradients=Gradients(draw.usage_gradients, draw.usage_gradient_rows, draw.pool_gradients),
            typology=Typology(draw.distances, draw.relatives),
            text_statistics=draw.text_statistics,
            transfer_results=tuple(TransferResult(*result) for result in draw.transfer_results),
            given=draw.given,
        ),
    )


def anchors(
    draw: draws.HistoryDraw,
    rule: str,
    share: float,
    seed: int,
    *,
    least: int = 0,
    most: int | None = None,
    sizes: bool = False,
) -> dict[str, Any]:
    """Draw anchors from a history. sizes: whether it is known how many rows each period had."""
    found = draw_anchors(
        draw.clusters,
        periods=draw.periods,
        period_sizes=draw.period_sizes if sizes else None,
        share=share,
        least=least,
        most=most,
        rule=rule,
        seed=seed,
    )
    return {
        "indices": found.indices.tolist(),
        "by_period": [[period, rows, drawn] for period, (rows, drawn) in found.by_period.items()],
        "wanted": found.wanted,
        "shortfall": found.shortfall,
    }


def gate(draw: draws.GateDraw, seed: int) -> dict[str, Any]:
    """Decide on a candidate by its held-out sets."""
    sets = [HeldOut(s.name, s.role, s.before, s.after, s.units) for s in draw.sets]
    options = {name: value for name, value in draw.options.items() if name not in GONE}
    tolerance = {
        name.removeprefix("tolerance_").replace("_", "-"): value
        for name, value in draw.options.items()
        if name.startswith("tolerance_")
    }
    config = GateConfig(**options, tolerance=GateConfig().tolerance | tolerance)
    decision = decide(sets, config, seed=seed, candidate="b", baseline="a").to_dict()
    del decision["decided_at"]
    decision["reason"] = _gate_words(decision["reason"])
    for test in decision["tests"]:
        test["more_data"] = _gate_words(test["more_data"])
    return decision


def monitor(draw: draws.MonitorDraw, folder: Path, seed: int) -> dict[str, Any]:
    """Watch prompts with the options of the default configuration; the state is a database in `folder`."""
    n = len(draw.space_vectors)
    space = SemanticSpace.fit(
        draw.space_vectors, ["cy"] * n, language_removal="none", n_clusters=draw.n_clusters, seed=seed
    )
    reference = Reference.fit(
        space, draw.reference_vectors, draw.reference_languages, losses=draw.reference_losses, seed=seed
    )
    looks: list[list[Any]] = []
    events: list[dict[str, Any]] = []
    unwatched: list[dict[str, int]] = []
    database = f"sqlite:///{folder}/state.db"
    # A sixth test would share the false alarms with these five, and so lower their levels.
    tests = (HistogramTest(), VectorsTest(), LanguagesTest(), LossTest(), NoveltyTest())
    with Monitor(
        reference, MonitorConfig(), database=database, seed=seed, clock=lambda: 1000.0, tests=tests
    ) as watching:
        for batch in draw.batches:
            seen = watching.observe(batch.vectors, batch.languages, losses=batch.losses)
            looks += [_look(check) for check in seen.checks]
            events += [_event(event) for event in seen.events]
            unwatched.append(dict(seen.unwatched))
        status = watching.status()
    return {
        # Which usage row is in which cluster depends on the fit; the numbers of clusters say that it is the same.
        "reference": {tag: rows.counts.tolist() for tag, rows in reference.languages.items()},
        "looks": looks,
        "events": events,
        "unwatched": unwatched,
        "drift": status["drift"],
        "streams": {
            # The mix of languages has no test on labels, and no longer says that it counted none.
            name: {key: ({"labelled": 0} | stream)[key] for key in ("prompts", "window_full", "labelled", "alarms")}
            for name, stream in status["streams"].items()
        },
    }


LOOK = ("stream", "test", "prompts", "value", "threshold", "p_value", "alpha", "alarm")
"""What the places of a frozen look are."""


def _event(event: DriftEvent) -> dict[str, Any]:
    """Return an event without what version 0.1 did not tell."""
    told = event.to_dict()
    for name in ("began_prompts", "began_at"):
        (told["explanation"] or {}).pop(name, None)
    return told


def _look(check: Check) -> list[Any]:
    return [getattr(check, name) for name in LOOK]
