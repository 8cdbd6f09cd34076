from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from compass.config import MonitorConfig
from compass.drift import DriftTest, Monitor, Reference
from compass.drift.tests.histogram import HistogramTest
from compass.drift.tests.languages import LanguagesTest
from compass.drift.tests.loss import LossTest
from compass.drift.tests.mmd import VectorsTest
from compass.drift.tests.novelty import NoveltyTest
from compass.errors import ConfigError, DataError, MonitorError

CONFIG = MonitorConfig(window=200, prompts_per_false_alarm=10_000)
TESTS = (HistogramTest(), NoveltyTest(), VectorsTest(rows=100), LanguagesTest(), LossTest(window=80))


def opened(reference: Reference, database: object, config: MonitorConfig = CONFIG, **options: object) -> Monitor:
    """Open a monitor with shorter windows than the default; database: a URL, or the path of a SQLite file."""
    url = database if isinstance(database, str) else f"sqlite:///{database}"
    return Monitor(reference, config, database=url, **{"tests": TESTS, "checks_every": 50} | options)


@pytest.fixture
def monitor(world, tmp_path):
    with opened(world.reference(losses={"cy": [0, 1] * 50}), tmp_path / "s.db") as monitor:
        yield monitor


def moved(world, share: float) -> np.ndarray:
    """Return the mix with a share moved to the rarest topic."""
    target = np.eye(len(world.mix))[np.argmin(world.mix)]
    return (1 - share) * world.mix + share * target


def drifts(seen) -> list[str]:
    return [event.check.test for event in seen.events if event.kind == "drift"]


def test_steady_usage_raises_no_alarm(monitor, world):
    """Breaks if any test goes off on usage like the reference: 0.4 false alarms are promised at most in these 4,000."""
    rng = np.random.default_rng(0)
    tests = set()
    for _ in range(8):
        n = int(rng.integers(400, 601))
        seen = monitor.observe(world.draw(n, rng), ["cy"] * n, losses=rng.integers(0, 2, n))
        assert seen.prompts == n
        assert drifts(seen) == []
        tests |= {check.test for check in seen.checks}
    assert tests == {"histogram", "vectors", "novelty", "languages", "loss"}
    assert not monitor.status()["drift"]


def test_a_changed_mix_is_found_explained_once_and_ends(monitor, world):
    """Breaks if drift is not found within two windows, is announced at every check, names the wrong cluster, or never
    ends once usage is as before."""
    rng = np.random.default_rng(1)
    monitor.observe(world.draw(400, rng), ["cy"] * 400)
    checks, events = [], []
    for _ in range(10):
        seen = monitor.observe(world.draw(100, rng, moved(world, 0.4)), ["cy"] * 100)
        checks += [check for check in seen.checks if check.test == "histogram"]
        events += [event for event in seen.events if event.check.test == "histogram"]
    (event,) = events
    assert event.kind == "drift"
    assert event.check.prompts <= 400 + 400
    assert event.check.p_value <= event.check.alpha == 50 * 0.5 / 10_000
    topic = world.topics[np.argmin(world.mix)].astype(np.float32)
    grown = event.explanation.grew[0]
    assert grown.cluster == int(np.argmax(world.space.centroids_ @ topic))
    assert grown.window_share - grown.reference_share == pytest.approx(grown.change)
    assert sum(check.alarm for check in checks) > 3
    assert monitor.status()["streams"]["cy"]["alarms"]["histogram"] == event.check.prompts
    json.dumps([monitor.status(), event.to_dict(), monitor.events(), monitor.checks()])
    assert "histogram" in {stored["test"] for stored in monitor.events()}
    over = [monitor.observe(world.draw(100, rng), ["cy"] * 100) for _ in range(12)]
    assert "recovered" in {e.kind for seen in over for e in seen.events if e.check.test == "histogram"}
    assert "histogram" not in monitor.status()["streams"]["cy"]["alarms"]


def test_what_a_histogram_can_not_see(monitor, world):
    """Breaks if another test is not wired up: prompts far from every cluster, a shift within clusters, a
    new language, more errors."""
    rng = np.random.default_rng(2)
    monitor.observe(world.draw(400, rng), ["cy"] * 400)
    noisy = monitor.observe(world.draw(400, rng, noise=0.16), ["cy"] * 400)
    assert "novelty" in drifts(noisy)
    assert next(e for e in noisy.events if e.check.test == "novelty").check.reference_value == pytest.approx(0.05)
    push = 0.12 * world.topics.sum(axis=0).astype(np.float32)
    shifted = world.draw(400, rng) + push
    shifted /= np.linalg.norm(shifted, axis=1, keepdims=True)
    assert "vectors" in drifts(monitor.observe(shifted, ["cy"] * 400))
    other = monitor.observe(world.draw(200, rng), ["cy", "de"] * 100)
    assert "languages" in drifts(other)
    assert other.unwatched == {"de": 100}
    mix = next(e for e in other.events if e.check.test == "languages")
    assert [shift.name for shift in mix.explanation.grew] == ["other"]
    wrong = monitor.observe(world.draw(200, rng), ["cy"] * 200, losses=np.where(rng.random(200) < 0.9, 1.0, np.nan))
    assert "loss" in drifts(wrong)


def test_first_feedback_is_the_reference_where_there_is_none(world, tmp_path):
    """Breaks if feedback is ignored, or compared with nothing, when the reference has no losses."""
    rng = np.random.default_rng(3)
    with opened(world.reference(), tmp_path / "s.db") as monitor:
        steady = monitor.observe(world.draw(300, rng), ["cy"] * 300, losses=rng.random(300) < 0.2)
        assert "loss" in {check.test for check in steady.checks}
        assert drifts(steady) == []
        worse = monitor.observe(world.draw(100, rng), ["cy"] * 100, losses=rng.random(100) < 0.7)
        assert drifts(worse) == ["loss"]


def test_a_restart_changes_nothing(world, database, tmp_path):
    """Breaks if windows, alarms, losses or seeds are not brought back: a monitor that is opened anew for each batch
    gives the checks of one that stays open, but for the test on vectors, whose window is in memory alone."""
    rng = np.random.default_rng(4)
    batches = [world.draw(130, rng, moved(world, 0.3 if i > 6 else 0.0)) for i in range(14)]
    losses = [rng.random(130) < 0.3 for _ in batches]
    once, anew = [], []
    with opened(world.reference(), tmp_path / "whole.db") as monitor:
        for vectors, loss in zip(batches, losses, strict=True):
            once += monitor.observe(vectors, ["cy"] * 130, losses=loss).checks
    for vectors, loss in zip(batches, losses, strict=True):
        with opened(world.reference(), database) as monitor:
            anew += monitor.observe(vectors, ["cy"] * 130, losses=loss).checks
    assert anew == [check for check in once if check.test != "vectors"]
    assert any(check.alarm for check in anew)


def test_prompts_are_kept_as_the_option_says(world, database):
    """Breaks if a prompt is stored by default, unredacted, or longer than allowed."""
    rng = np.random.default_rng(5)
    texts = [f"mail number {i} to jo{i}@example.org" for i in range(300)]
    now = [1000.0]

    def run(reservoir: str) -> Monitor:
        config = replace(CONFIG, reservoir=reservoir, reservoir_size=20, retention_days=1.0)
        return opened(world.reference(), database, config, clock=lambda: now[0])

    with run("off") as monitor:
        monitor.observe(world.draw(300, rng), ["cy"] * 300, texts=texts)
        assert monitor.kept_prompts("cy") == []
    with run("full") as monitor:
        seen = monitor.observe(world.draw(300, rng, moved(world, 0.7)), ["cy"] * 300, texts=texts)
        kept = monitor.kept_prompts("cy")
        assert len(kept) == 20
        assert {row.text for row in kept} <= set(texts)
        shown = [text for event in seen.events for shift in event.explanation.grew for text in shift.examples]
        assert shown
        assert "example.org" not in json.dumps([monitor.events(), monitor.status(), monitor.checks()])
    with run("redacted") as monitor:
        assert monitor.kept_prompts("cy") == []
        monitor.observe(world.draw(300, rng), ["cy"] * 300, texts=texts)
        assert len(monitor.kept_prompts("cy")) == 20
        assert all(row.text.endswith("[EMAIL]") for row in monitor.kept_prompts("cy"))
        now[0] += 86_401
        monitor.observe(world.draw(10, rng), ["de"] * 10, texts=texts[:10])
        assert monitor._state.prompts("cy") == []


def test_odd_characters_do_not_stop_the_monitor(world, database):
    """Breaks if one prompt with a NUL or half a surrogate pair fails each try of its batch, on either database."""
    config = replace(CONFIG, reservoir="full")
    with opened(world.reference(), database, config) as monitor:
        texts = ["nul \0 here", "half \ud83d pair", "whole \U0001f4a1 pair"]
        monitor.observe(world.draw(3, np.random.default_rng(0)), ["cy"] * 3, texts=texts, batch_id="x" * 1000)
        kept = {row.text for row in monitor.kept_prompts("cy")}
    assert kept == {"nul   here", "half ? pair", "whole \U0001f4a1 pair"}


def test_a_failed_write_is_taken_up_again(monitor, world, monkeypatch):
    """Breaks if windows in memory run ahead of the database after an error: the same batch again must count once."""
    rng = np.random.default_rng(6)
    vectors = world.draw(230, rng)
    with monkeypatch.context() as patch:
        patch.setattr(monitor._state, "write", lambda **_: (_ for _ in ()).throw(MonitorError("the disk is full")))
        with pytest.raises(MonitorError, match="disk is full"):
            monitor.observe(vectors, ["cy"] * 230, batch_id="a")
    assert monitor.observe(vectors, ["cy"] * 230, batch_id="a").prompts == 230
    assert monitor.observe(vectors, ["cy"] * 230, batch_id="a").repeated
    assert monitor.status()["streams"]["cy"]["prompts"] == monitor.status()["prompts"] == 230
    labels = world.space.assign(vectors, ["cy"] * 230)
    np.testing.assert_array_equal(monitor._streams["cy"].window.counts, np.bincount(labels[:200], minlength=12))


def test_wrong_options_and_shapes_are_named(monitor, world, tmp_path):
    """Breaks if a wrong option is found one at a time, or batches of unequal lengths are cut silently."""
    with pytest.raises(ConfigError) as error:
        opened(monitor.reference, "sqlite://", MonitorConfig(window=130, reservoir="all", retention_days=-1))
    assert len(error.value.problems) == 3
    assert "window must be a multiple of 100; got 130" in error.value.problems
    with pytest.raises(DataError, match="3 vectors, 2 languages"):
        monitor.observe(world.draw(3, np.random.default_rng(0)), ["cy"] * 2)
    with pytest.raises(DataError, match="losses must be one a prompt"):
        monitor.observe(world.draw(3, np.random.default_rng(0)), ["cy"] * 3, losses=[1.0])
    assert monitor.observe(world.draw(0, np.random.default_rng(0)), []).prompts == 0
    other = replace(CONFIG, window=400)
    monitor.close()
    with pytest.raises(MonitorError, match=r"was started with window 200\. Restart it"):
        opened(monitor.reference, tmp_path / "s.db", other)
    with pytest.raises(MonitorError, match=r"started with look_every 50 and novelty_tail 0\.05 and feedback_window 80"):
        opened(
            monitor.reference, tmp_path / "s.db", checks_every=100, tests=(NoveltyTest(tail=0.1), LossTest(window=90))
        )
    opened(monitor.reference, tmp_path / "s.db", other, restart=True).close()
    with pytest.raises(ValueError, match="must divide the window of 200 prompts; got 30"):
        opened(monitor.reference, "sqlite://", checks_every=30)
    with pytest.raises(ValueError, match="its own name; got loss, loss"):
        opened(monitor.reference, tmp_path / "s.db", tests=(LossTest(), LossTest()))


def test_a_prompt_that_can_not_be_counted_is_passed_over_and_said(world, database):
    """Breaks if one vector or loss that is no number stops the stream, is counted, or goes without a word."""
    vectors = world.draw(6, np.random.default_rng(0))
    vectors[1], vectors[4, 3] = np.nan, np.inf
    with opened(world.reference(), database, replace(CONFIG, reservoir="full")) as monitor:
        seen = monitor.observe(
            vectors,
            ["cy"] * 6,
            texts=[f"text {i}" for i in range(6)],
            losses=[1.0, 1.0, np.inf, np.nan, np.inf, -1e300],
        )
        assert seen.prompts == monitor.status()["prompts"] == 2
        found = {skip.reason: (skip.n, skip.first) for skip in seen.skipped}
        assert found == {
            "a vector that is not finite": (2, "prompt 2 of its batch"),
            "a loss that is not a number of at most 1,000,000": (2, "prompt 3 of its batch"),
        }
        assert monitor.status()["skipped"] == {reason: n for reason, (n, _) in found.items()}
        assert {row.text for row in monitor.kept_prompts("cy")} == {"text 0", "text 3"}


class Fails(DriftTest):
    """A test that checks every full window, and fails in some batches after it has changed its mind half-way."""

    name, share, cadence = "fails", 0.1, "block"
    batches: ClassVar[set[int]] = set()
    """Blocks that it fails on."""

    def fit(self, stream):
        self.seen = 0

    def observe(self, batch):
        self.seen += len(batch.prompts)
        if batch.ends_block:
            if batch.block in self.batches:
                raise ValueError("quotes a prompt")
            yield batch.check(self.name, self.seen, 0.5, 0.01)

    def save(self, stored):
        stored["fails"] = self.seen

    def restore(self, stored):
        self.seen = stored.get("fails", 0)


def test_a_drift_test_that_fails_once_costs_its_check_alone(world, tmp_path, caplog):
    """Breaks if a failing test ends the stream, loses prompts, or takes the others' checks with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fails, "batches", {2, 5, 6})
        with opened(world.reference(), tmp_path / "s.db", tests=(Fails(), NoveltyTest()), checks_every=100) as monitor:
            rng = np.random.default_rng(0)
            seen = [monitor.observe(world.draw(100, rng), ["cy"] * 100) for _ in range(8)]
            assert monitor.status()["prompts"] == 800
            checks = [[check.test for check in batch.checks if check.stream == "cy"] for batch in seen]
            assert checks == [["fails"], ["novelty"], *[["fails", "novelty"]] * 2, *[["novelty"]] * 2,
                              *[["fails", "novelty"]] * 2]  # fmt: skip
            assert seen[2].checks[0].value == 200, "the batch that it failed on is not seen by it"
            (skipped,) = monitor.skipped()
            assert (skipped.reason, skipped.n) == ("a check of the drift test fails (ValueError)", 3)
            assert skipped.first == "cy, after 200 prompts"
    assert "quotes" not in caplog.text


def test_a_drift_test_that_fails_always_stops_the_monitor_at_every_start(world, tmp_path):
    """Breaks if a broken test is passed over for ever, or the batch that stopped the monitor is lost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fails, "batches", set(range(1, 100)))
        rng = np.random.default_rng(0)
        for counted in (200, 200):
            with opened(
                world.reference(), tmp_path / "s.db", tests=(Fails(), NoveltyTest()), checks_every=100
            ) as monitor:
                batches = (monitor.observe(world.draw(100, rng), ["cy"] * 100) for _ in range(5))
                with pytest.raises(MonitorError, match=r"'fails' failed in 3 batches .* after 300 prompts; ValueError"):
                    list(batches)
                assert monitor.status()["prompts"] == counted
    with opened(world.reference(), tmp_path / "s.db", tests=(Fails(), NoveltyTest()), checks_every=100) as monitor:
        assert [c.test for c in monitor.observe(world.draw(100, rng), ["cy"] * 100).checks] == ["fails", "novelty"]


def test_tests_can_be_left_out(world, tmp_path):
    """Breaks if a test that is not asked for is run, or the window is not explained without a test."""
    with opened(world.reference(), tmp_path / "s.db", tests=()) as monitor:
        seen = monitor.observe(world.draw(500, np.random.default_rng(0)), ["de", "cy"] * 250, losses=np.ones(500))
        assert seen.checks == ()
        assert monitor.explain("cy") is not None
    assert os.path.getsize(tmp_path / "s.db") > 0


def test_labels_that_come_late_are_counted_once_by_their_id(world, tmp_path: Path):
    """Breaks if what users say of an answer later does not reach the loss test, or one of them reaches it twice."""
    rng = np.random.default_rng(0)
    reference = world.reference(losses={"cy": rng.random(300) < 0.1})
    database = f"sqlite:///{tmp_path}/state.db"
    with Monitor(reference, MonitorConfig(), database=database) as monitor:
        monitor.observe(world.draw(300, rng), ["cy"] * 300)
        for i in range(150):
            assert monitor.observe_label(f"answer-{i}", "cy", 0.0).events == ()
    with Monitor(reference, MonitorConfig(), database=database) as monitor:
        assert monitor.observe_label("answer-7", "cy", 1.0).repeated
        assert monitor.observe_label("other", "xx", 1.0).unwatched == {"xx": 1}
        assert monitor.observe_label("broken", "cy", float("nan")).skipped[0].n == 1
        events = [e for i in range(150, 350) for e in monitor.observe_label(f"answer-{i}", "cy", 1.0).events]
        status = monitor.status()
    assert [(event.kind, event.check.test) for event in events] == [("drift", "loss")]
    assert status["prompts"] == status["streams"]["cy"]["prompts"] == 300
    assert status["streams"]["cy"]["labelled"] == 350
