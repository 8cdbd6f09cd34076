from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from compass.runs import layout
from compass.semantic import SemanticSpace
from compass.semantic.diagnostics import name_clusters
from compass.steps.reference import clusters_of


def test_topics_are_named_in_the_languages_that_ask_for_them(tmp_path: Path):
    """Breaks if a topic is named in English alone, or by a language that hardly has it; or if names of version 0.1,
    which have no other languages, are no longer read."""
    texts = {
        ("en", 0): "timer minutes", ("cy", 0): "amserydd munud", ("de", 0): "Wecker Minuten",
        ("en", 1): "lamp light", ("cy", 1): "golau lamp",
    }  # fmt: skip
    rows = [(tag, k, text) for (tag, k), text in texts.items() for _ in range(2 if tag == "de" else 4)]
    vectors = np.eye(2, 4, dtype=np.float32)[[k for _, k, _ in rows]]
    tags, said = [tag for tag, _, _ in rows], [text for _, _, text in rows]
    space = SemanticSpace.fit(vectors, tags, language_removal="none", n_clusters=2, seed=0)
    names = name_clusters(space, vectors, tags, said)
    timers = next(name for name in names if "timer" in name.name)
    assert timers.other_languages == {"cy": ("amserydd", "munud")}
    (tmp_path / layout.CLUSTER_NAMES).parent.mkdir()
    stored = [name.to_dict() for name in names]
    (tmp_path / layout.CLUSTER_NAMES).write_text(json.dumps(stored), encoding="utf-8")
    assert "minutes · timer (cy: amserydd · munud)" in clusters_of(tmp_path)[0]
    for row in stored:
        del row["other_languages"]
    (tmp_path / layout.CLUSTER_NAMES).write_text(json.dumps(stored), encoding="utf-8")
    assert "minutes · timer" in clusters_of(tmp_path)[0]
