from __future__ import annotations

import json

import numpy as np
import pytest

from compass.config import MonitorConfig
from compass.drift import Check, DriftEvent, DriftTest, Monitor, catalogue, default_tests, describe, register
from compass.drift.level import draws_for
from compass.drift.tests.loss import loss_p_value


@pytest.fixture
def length_test(monkeypatch):
    """A sixth test as anyone would write it: are prompts longer than the first 200 were?"""
    default_tests()  # so that the built-in tests are registered for good
    monkeypatch.setattr(catalogue, "_REGISTERED", dict(catalogue._REGISTERED))

    @register
    class LengthTest(DriftTest):
        name, share, cadence = "length", 0.25, "block"

        def fit(self, stream):
            self.stream, self.alpha = stream, stream.level(self.share, every=stream.block)

        def observe(self, batch):
            self.lengths += map(len, batch.prompts.texts)
            if batch.ends_block and len(self.lengths) >= 400:
                first, latest = self.lengths[:200], self.lengths[-200:]
                seed = self.stream.seed(self.name, batch.block)
                p_value = loss_p_value(latest, first, most=draws_for(self.alpha), seed=seed)
                yield batch.check(self.name, float(np.mean(latest)), p_value, self.alpha)

        def save(self, stored):
            stored["length"] = self.lengths

        def restore(self, stored):
            self.lengths = list(stored.get("length", []))

        def describe(self, value):
            return f"prompts of {value:.0f} characters"

    return LengthTest


def watch(world, path, seed, words, n=300):
    """Let a monitor with its default tests see n prompts of so many words."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(["word"] * int(count)) for count in rng.integers(*words, n)]
    config = MonitorConfig(window=100)
    with Monitor(world.reference(), config, database=f"sqlite:///{path}") as monitor:
        return monitor.observe(world.draw(n, rng), ["cy"] * n, texts=texts), monitor.status()


def test_a_sixth_test_is_one_class(world, tmp_path, length_test):
    """Breaks if a test needs more than its own class to be run, to keep its state over a restart, to raise an alarm, to
    be told of in words and to leave the promise as it is."""
    found, _ = watch(world, tmp_path / "s.db", 0, (2, 12))
    assert "length" not in {check.test for check in found.checks}
    found, _ = watch(world, tmp_path / "s.db", 1, (2, 12))
    assert [check.prompts for check in found.checks if check.test == "length"] == [400, 500, 600]
    assert found.events == ()
    found, status = watch(world, tmp_path / "s.db", 2, (15, 25))
    (event,) = found.events
    assert (event.kind, event.check.test) == ("drift", "length")
    assert describe(event).startswith("drift in cy after 700 prompts: more of ")
    assert "; prompts of 64 characters (p = " in describe(event)
    assert status["streams"]["cy"]["alarms"] == {"length": 700}
    assert "length" in status["streams"]["cy"]["last_checks"]
    alphas = {check.test: check.alpha for check in found.checks}
    assert alphas["length"] == pytest.approx(100 * (0.25 / 1.25) / 10_000)
    assert alphas["histogram"] == pytest.approx(100 * (0.5 / 1.25) / 10_000)


def test_a_monitor_goes_on_when_a_test_is_added(world, tmp_path, request):
    """Breaks if a new test makes users start anew: windows that are stored must stay as they are."""
    watch(world, tmp_path / "s.db", 0, (2, 12))
    request.getfixturevalue("length_test")
    found, status = watch(world, tmp_path / "s.db", 1, (2, 12))
    assert status["streams"]["cy"]["prompts"] == 600
    assert [check.prompts for check in found.checks if check.test == "histogram"] == [400, 500, 600]
    assert [check.prompts for check in found.checks if check.test == "length"] == []


def test_every_file_registers_its_test():
    """Breaks if a test is forgotten, or checks of a batch come in another order than version 0.1 has them."""
    assert [test.name for test in default_tests()] == ["histogram", "vectors", "languages", "loss", "novelty"]
    with pytest.raises(ValueError, match="already a drift test named 'loss'"):
        register(type("Another", (DriftTest,), {"name": "loss", "share": 0.1}))


@pytest.mark.parametrize(
    ("test", "stream", "value", "words"),
    [
        ("histogram", "cy", 0.1234, "drift in cy after 700 prompts: divergence of topics 0.123 bits"),
        ("vectors", "cy", 0.01234, "drift in cy after 700 prompts: change within clusters, MMD² 0.0123"),
        ("novelty", "cy", 0.25, "drift in cy after 700 prompts: 25.0 % of prompts far from every cluster"),
        ("languages", "*", 0.5, "drift in the mix of languages after 700 prompts: divergence of languages 0.500 bits"),
        ("loss", "cy", 0.75, "drift in cy after 700 prompts: mean loss 0.750"),
        ("gone", "cy", 0.75, "drift in cy after 700 prompts: gone 0.75"),
    ],
)
def test_events_in_words(test, stream, value, words):
    """Breaks if an event, also one that is read back from a database, is not told in plain words."""
    event = DriftEvent("drift", Check(stream, test, 700, value, None, 0.00012, 0.0025, True, 0.05), None)
    assert describe(event) == f"{words} (p = 0.00012, level 0.0025)"
    assert DriftEvent.from_dict(json.loads(json.dumps(event.to_dict()))) == event
