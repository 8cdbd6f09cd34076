"""Judging by itself: stored answers of one run folder, base and adapter, or of the adapters of two."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass.config import JudgeConfig
from compass.errors import ConfigError, DataError
from compass.evaluation import Evaluation
from compass.evaluation.files import PREDICTIONS, read_evaluation
from compass.evaluation.judge import Judge, Judged, JudgePlan, judge_answers, plan
from compass.runs import layout
from compass.runs.files import write_json
from compass.runs.folder import refuse_version

logger = logging.getLogger(__name__)

Pairs = Mapping[str, tuple[Evaluation, Evaluation]]
"""Two evaluations of the same rows by test; the second is the one that wins or loses."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What judging takes, and what came of it."""

    folder: Path
    plans: Mapping[str, JudgePlan]
    """By test, as it stood before a request was sent."""
    judged: tuple[Judged, ...]
    """Empty where no request was allowed."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "folder": str(self.folder),
            "plans": {name: takes.to_dict() for name, takes in self.plans.items()},
            "judged": [done.to_dict() for done in self.judged],
        }


def stored_pairs(folders: Sequence[Path]) -> Pairs:
    """Return base and adapter of a run folder, or the adapters of two, such as two cells of a comparison, by test.

    Raises ConfigError for another number of folders, DataError if there is no test that both have.
    """
    if len(folders) not in (1, 2):
        raise ConfigError(f"judge: give one run folder, or two whose adapters are compared; got {len(folders)}")
    if len(folders) == 1:
        sides = [_measured(folders[0], "base"), _measured(folders[0], "adapter")]
    else:
        sides = [_measured(folder, "adapter") for folder in folders]
    shared = [name for name in sides[0] if name in sides[1]]
    if not shared:
        raise DataError(
            f"{' and '.join(map(str, folders))}: these hold no stored answers of two models to the same test. "
            "Run compass adapt to its end, or compass evaluate with --adapter"
        )
    return {name: (read_evaluation(sides[0][name]), read_evaluation(sides[1][name])) for name in shared}


def is_measured(folder: Path) -> bool:
    """Say whether a path is a folder with evaluations, so that there is something to judge."""
    return any((folder / name).is_dir() for name in (layout.EVALUATION, layout.OWN_EVALUATIONS))


def _measured(folder: Path, model: str) -> dict[str, Path]:
    """Return the summaries of a model's evaluations by test: of the run itself, else of `compass evaluate` in it."""
    for parent in (layout.EVALUATION, layout.OWN_EVALUATIONS):
        found = sorted((folder / parent / model).glob(f"*{PREDICTIONS}"))
        if found:
            names = [path.name.removesuffix(PREDICTIONS) for path in found]
            return {name: path.with_name(f"{name}.json") for name, path in zip(names, found, strict=True)}
    return {}


def judge_pairs(config: JudgeConfig, pairs: Pairs, output_dir: Path) -> Judgement:
    """Say what judging takes, then send at most `judge_requests` requests and write what came of them.

    Everything goes to `output_dir/evaluations/judge`: the verdicts, of which none is asked for again, and a summary of
    each test. Raises DataError if two evaluations are not of the same rows, ModelError if the server gives no reply.
    """
    refuse_version(output_dir, "Choose another --output-dir.")
    folder = output_dir / layout.OWN_EVALUATIONS / "judge"
    judge = Judge(config.judge, config.judge_model, folder / "verdicts.jsonl")
    plans = {name: plan(judge, *pair) for name, pair in pairs.items()}
    for name, takes in plans.items():
        logger.info(
            "%s: %d requests to %s (%d rows in both orders, %d answered alike, %d known), about %d tokens",
            name, takes.requests, judge.endpoint.url, takes.rows, takes.same, takes.known, takes.tokens,
        )  # fmt: skip
    needed = sum(takes.requests for takes in plans.values())
    if needed and not config.judge_requests:
        logger.info("Nothing was sent. --judge-requests %d lets all of them be sent.", needed)
        return Judgement(folder, plans, ())
    done, allowed = [], config.judge_requests
    for name, pair in pairs.items():
        judged, sent = judge_answers(judge, *pair, limit=allowed)
        allowed -= sent
        done.append(judged)
        write_json(folder / f"{name}.json", judged.to_dict() | {"judge": judge.endpoint.url, "model": judge.model})
    judge.endpoint.close()
    return Judgement(folder, plans, tuple(done))
