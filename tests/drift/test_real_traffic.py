from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compass.config import MonitorConfig
from compass.drift import Monitor, Reference

HOUR = 3600.0


def rows(world, n: int, seed: int, *, mix=None):
    """Return vectors of n prompts in sessions of four on average, and the sessions' names."""
    rng = np.random.default_rng(seed)
    sessions = np.cumsum(rng.random(n) < 0.25)
    vectors = world.draw(n, rng, mix)[sessions]
    noisy = vectors + 0.02 * rng.normal(size=vectors.shape)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    return noisy.astype(np.float32), [f"{seed}-{session}" for session in sessions]


def test_sessions_raise_no_alarm_and_their_drift_does(world, tmp_path: Path):
    """Breaks if prompts of one session pass for so many witnesses, or if the monitor is deaf to what sessions say."""
    vectors, sessions = rows(world, 1200, 0)
    reference = Reference.fit(world.space, vectors, ["cy"] * 1200, sessions=sessions)
    with Monitor(reference, MonitorConfig(), database=f"sqlite:///{tmp_path}/state.db") as monitor:
        vectors, sessions = rows(world, 3000, 1)
        assert monitor.observe(vectors, ["cy"] * 3000, sessions=sessions).events == ()
        traffic = monitor.status()["streams"]["cy"]["traffic"]
        assert traffic["effective_window"] < 200
        assert traffic["effective_reference"] < 400
        assert traffic["keeps_topic"] > 0.9
        changed = np.roll(world.mix, 1)
        vectors, sessions = rows(world, 1500, 2, mix=changed)
        events = monitor.observe(vectors, ["cy"] * 1500, sessions=sessions).events
    assert events[0].check.test == "histogram"
    assert events[0].explanation is not None
    assert 0 < events[0].explanation.began_prompts <= 500


def test_windows_go_on_after_a_restart_with_what_they_know(world, tmp_path: Path):
    """Breaks if a restart forgets which prompts were of one session: the next check would take all for single ones."""
    vectors, sessions = rows(world, 1200, 0)
    reference = Reference.fit(world.space, vectors, ["cy"] * 1200, sessions=sessions)
    vectors, sessions = rows(world, 1000, 1)

    def status(parts: list[slice], database: str):
        for part in parts:
            with Monitor(reference, MonitorConfig(), database=database) as monitor:
                monitor.observe(vectors[part], ["cy"] * len(vectors[part]), sessions=sessions[part])
                found = monitor.status()["streams"]["cy"]["traffic"]
        return found

    whole = status([slice(0, 1000)], f"sqlite:///{tmp_path}/one.db")
    parts = status([slice(0, 700), slice(700, 1000)], f"sqlite:///{tmp_path}/two.db")
    assert parts["effective_window"] == pytest.approx(whole["effective_window"], rel=0.05)


def test_a_bot_is_counted_once_and_its_repeats_are_shown(world, tmp_path: Path):
    """Breaks if one client that repeats a prompt looks like drift, or vanishes without a number."""
    rng = np.random.default_rng(0)
    reference = world.reference(1000, texts=[f"prompt {i}" for i in range(1000)])
    steady, bot = world.draw(800, rng), np.repeat(world.draw(1, rng), 800, axis=0)
    vectors = np.stack([steady, bot], axis=1).reshape(1600, -1)
    texts = [text for i in range(800) for text in (f"asked {i}", "are you there?")]
    with Monitor(reference, MonitorConfig(), database=f"sqlite:///{tmp_path}/state.db") as monitor:
        seen = monitor.observe(vectors, ["cy"] * 1600, texts=texts)
        status = monitor.status()
    assert seen.events == ()
    assert seen.repeats == status["repeats"] == 1600 - status["prompts"]
    assert seen.repeats > 780
    assert status["skipped"] == {}


def test_a_reference_keeps_how_its_rows_came(world, tmp_path: Path):
    """Breaks if the order of a reference is lost when it is read back, or changes whose monitor it is."""
    vectors, sessions = rows(world, 400, 0)
    times = 1.7e9 + HOUR * np.arange(400)
    texts = ["once"] + [f"prompt {i}" for i in range(399)]
    known = Reference.fit(world.space, vectors, ["cy"] * 400, texts=texts, sessions=sessions, times=times[::-1])
    known.save(tmp_path)
    back = Reference.load(tmp_path)
    assert back.most_repeated == {"cy": 1}
    assert back.arrival is not None
    assert back.arrival.times.tolist() == times.tolist()
    assert back.arrival.clusters.tolist() == known.space.assign(vectors, ["cy"] * 400)[::-1].tolist()
    bare = Reference.fit(world.space, vectors, ["cy"] * 400, ordered=False)
    assert bare.arrival is None
    json.dumps(back.identity)
