"""All that the frozen tests of folders made by version 0.1 call of compass, in one place.

Where a function is renamed, moved or takes other arguments, this file changes and the tests do not. Paths are relative
to the copy of `tests/fixtures/v0_1` that a test works in.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from compass.config import CompareConfig, MonitorConfig, UpdateConfig, WatchOptions, load_stored, load_stored_options
from compass.data.readers import read_jsonl
from compass.drift import Monitor, Reference
from compass.evaluation import read_evaluation
from compass.evaluation.files import read_differences, read_task
from compass.recipes import update as update_recipe
from compass.recipes.adapt import adapt, select
from compass.recipes.compare import compare
from compass.recipes.monitor import monitor
from compass.recipes.update import NewData, update
from compass.recipes.watch import watch
from compass.registry import GateDecision, Registry, diff
from compass.report import build_report, build_status
from compass.report.load import load_run
from compass.semantic import SemanticSpace
from compass.steps.features import read_transfer_results
from compass.steps.history import read_version
from compass.steps.resources import Resources
from compass.steps.watch_state import Updater, open_site
from compass.training import Fisher
from frozen.stand_in import StandIn
from frozen.training_calls import account

MONITOR = MonitorConfig(
    window=100, prompts_per_false_alarm=20_000, monitor_batch_size=50, reservoir="redacted",
    reservoir_size=40, retention_days=36_500.0,
)  # fmt: skip
"""The options of `run/monitor`, but for how long prompts are kept: the clock has gone on since."""
UPDATE = {"anchor_share": 0.1, "min_anchors": 4, "fisher_rows": 8}
"""Options of the updates."""


OLD_NAMES = {"train": "current", "picked": "picked"}
"""Roles as version 0.1 wrote them into ids."""
UPDATER = Updater(update_recipe.begin, update_recipe.finish)


def use_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every recipe take the stand-in for the encoder that the options name; the cache stays in between."""
    monkeypatch.setattr("compass.encoders.load._open", lambda config, cache: StandIn())


def options(path: Path, *, comparison: bool = False) -> dict[str, Any]:
    """Return the options in a YAML file by name."""
    config = load_stored_options(CompareConfig, path) if comparison else load_stored(path)
    return {name: value for section in dataclasses.asdict(config).values() for name, value in section.items()}


def report(folder: Path) -> str:
    """Build the report of a run folder and return its HTML."""
    return build_report(folder).read_text("utf-8")


def report_facts(folder: Path) -> dict[str, Any]:
    """Return what a report has to show of a run folder, in numbers."""
    run = load_run(folder)
    return {
        "language": run.options["language"],
        "kept": {part.name: part.kept for part in run.cleaning},
        "fertility": len(run.fertility),
        "clusters": len(run.clusters),
        "answers": [kind.name for kind in run.classes],
        "picks": [pick.id for pick in run.picks],
        "points": len(run.points),
        "steps": run.training_result["steps"],
        "log": len(run.training_log),
        "tests": {name: scores.rows for name, scores in run.adapter.items()},
        "base": sorted(run.base),
        "differences": len(run.differences),
        "stages": [stage.stage for stage in run.stages],
    }


def adapt_again(folder: Path) -> None:
    """Give the command of a finished run again."""
    adapt(load_stored(folder / "compass.yaml"))


def select_again(folder: Path) -> None:
    """Give the command again that picks alone."""
    select(load_stored(folder / "compass.yaml"))


def finished_run(folder: Path) -> dict[str, Any]:
    """Return a run folder as an update reads it."""
    version = read_version(folder)
    return {
        "period": version.period,
        "ids": [f"{row.period}/{OLD_NAMES[row.role]}/{row.id}" for row in version.history],
        "periods": [row.period for row in version.history],
        "tests": {name: len(rows) for name, rows in version.tests.items()},
        "encoder": version.lock["encoder"]["name"],
    }


def periods(path: Path) -> set[int]:
    """Return the periods of the anchors in a file."""
    return {row.period for row in read_jsonl(path)}


def update_again(parent: Path, folder: str, window: str, *, method: str, overrides: Mapping[str, Any]) -> None:
    """Make a new update of a run folder."""
    config = load_stored(parent / "compass.yaml", {**overrides, "output_dir": folder})
    update(config, UpdateConfig(method=method, **UPDATE), parent=parent, new=NewData(window))


def fisher(path: Path) -> tuple[int, int, set[str]]:
    """Return the examples and versions behind stored Fisher information, and the weights that it is of."""
    stored = Fisher.load(path)
    assert stored.diagonal.keys() == stored.weights.keys()
    return stored.examples, stored.versions, set(stored.diagonal)


def clusters_of_texts(folder: Path, texts: Sequence[str], languages: Sequence[str]) -> list[int]:
    """Place texts in the stored space of a run folder."""
    space = SemanticSpace.load(folder / "space")
    return space.assign(StandIn().encode(texts), languages).tolist()


def not_in_cache(folder: Path, texts: Sequence[str]) -> list[str]:
    """Return the texts whose vectors are not in the cache that the options of a run name."""
    return Resources(load_stored(folder / "compass.yaml")).encoder.missing(texts)


def evaluation(path: Path) -> dict[str, Any]:
    """Return a stored evaluation, JSON-ready."""
    return account(read_evaluation(path))


def differences(path: Path) -> list[dict[str, Any]]:
    """Return stored paired differences."""
    return [found.to_dict() for found in read_differences(path)]


def task(path: Path) -> dict[str, Any]:
    """Return a stored result of an lm-eval task, JSON-ready."""
    return json.loads(json.dumps(read_task(path).to_dict()))


def transfers(path: Path) -> list[tuple[str, str, float]]:
    """Return stored transfer results."""
    return [(found.target, found.source, found.score) for found in read_transfer_results(path)]


def monitor_again(folder: Path, source: str) -> list[dict[str, Any]]:
    """Count what a source holds beyond what was counted, and return the events."""
    return [event.to_dict() for event in monitor(folder, source, MONITOR)]


def monitor_memory(folder: Path, url: str, *, name: str, language: str, mode: str, size: int) -> dict[str, Any]:
    """Return what a monitor's database holds. folder: of the reference."""
    config = dataclasses.replace(MONITOR, reservoir=mode, reservoir_size=size)
    with Monitor(Reference.load(folder), config, database=url, name=name) as watching:
        return {
            "status": watching.status(),
            "events": [{key: event[key] for key in event if key != "id"} for event in watching.events()],
            "looks": watching.checks(),
            "kept": [prompt.text for prompt in watching.kept_prompts(language)],
            "offsets": {name: position.end for name, position in watching.offsets().items()},
        }


class Versions:
    """A registry, by what a user asks of it."""

    def __init__(self, root: Path) -> None:
        self.registry = Registry(root)

    def overview(self, language: str) -> dict[str, Any]:
        """Return versions, aliases, history and events."""
        now = self.registry.aliases(language)
        return {
            "languages": list(self.registry.languages()),
            "versions": [
                {
                    "id": v.id,
                    "parent": v.parent,
                    "trigger": v.trigger,
                    "tests": sorted(v.metrics),
                    "notes": dict(v.notes),
                }
                | {"left_out": list(v.left_out), "files": len(v.files)}
                for v in self.registry.versions(language)
            ],
            "candidate": now.candidate,
            "production": now.current,
            "previous": now.previous,
            "history": [(move.action, move.before, move.after) for move in self.registry.history(language)],
            "events": [event.kind for event in self.registry.events(language)],
        }

    def get(self, language: str, name: str) -> str:
        """Return the id of the version with a name."""
        return self.registry.get(language, name).id

    def damaged(self, language: str) -> list[str]:
        """Return what is wrong with any version."""
        return [problem for check in self.registry.verify(language) for problem in check.problems]

    def verdicts(self, language: str) -> dict[str, list[str]]:
        """Return the gate's verdicts: those of promotions in the history, and those in events."""
        moves = [move.decision for move in self.registry.history(language) if move.decision]
        events = [e.details["decision"] for e in self.registry.events(language) if "decision" in e.details]
        return {
            "moves": [GateDecision.from_dict(decision).verdict for decision in moves],
            "events": [GateDecision.from_dict(decision).verdict for decision in events],
        }

    def register(self, folder: Path, language: str, *, parent: str = "") -> str:
        """Register a run folder and return its id."""
        return self.registry.register(folder, language=language, parent=parent).id

    def promote(self, language: str, name: str) -> None:
        """Put a version into production without asking the gate."""
        self.registry.promote(language, name)

    def rollback(self, language: str) -> None:
        """Put back what was in production before."""
        self.registry.rollback(language)

    def difference(self, language: str, one: str, two: str) -> str:
        """Return the difference of two versions in words of some form."""
        return str(diff(self.registry.get(language, one), self.registry.get(language, two)))

    def status_page(self, path: Path) -> str:
        """Build the status page and return its HTML."""
        return build_status(self.registry, path).read_text("utf-8")


def watch_options(folder: str) -> WatchOptions:
    """Return the options of the loop in a folder."""
    plain = WatchOptions()
    return dataclasses.replace(
        plain,
        registry=dataclasses.replace(plain.registry, registry_dir="registry", leave_out=("report.html",)),
        monitor=dataclasses.replace(MONITOR, reservoir="full", reservoir_size=120),
        update=UpdateConfig(method="replay", **UPDATE),
        watch=dataclasses.replace(plain.watch, watch_dir=folder, prompts_after_drift=60, min_usage_rows=40),
    )


def watch_state(folder: str, language: str) -> dict[str, Any]:
    """Open a loop's folder and return what it remembers."""
    with open_site(
        language, watch_options(folder), {}, dry_run=False, clock=lambda: 0.0, encoder=None, updater=UPDATER
    ) as site:
        return json.loads(json.dumps(site.state.to_dict()))


def watch_again(folder: str, language: str, source: str, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """Let the loop go on, and return its events."""
    return [event.to_dict() for event in watch(language, source, watch_options(folder), clock=clock)]


def compare_again(folder: Path) -> str:
    """Give the command of a finished comparison again; return the HTML of its report."""
    # The number of permutations was an option: this folder's is 200.
    return compare(load_stored_options(CompareConfig, folder / "compare.yaml"), permutations=200).report.read_text(
        "utf-8"
    )
