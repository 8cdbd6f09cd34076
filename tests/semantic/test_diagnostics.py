from __future__ import annotations

import json

import numpy as np
import pytest

from compass.errors import DataError
from compass.semantic import SemanticSpace
from compass.semantic.diagnostics import diagnose, name_clusters, terms_of

EVEN = [0.25, 0.25, 0.25, 0.25]


def test_diagnostics_tell_language_from_topic(make_world):
    """Breaks if before and after are swapped, or labels and languages are: raw clusters are languages in this world."""
    world = make_world(dict.fromkeys(("cy", "en", "th", "el"), EVEN))
    space = SemanticSpace.fit(world.vectors, world.languages, n_clusters=4, seed=0)
    found = diagnose(space, world.vectors, world.languages, labels=[f"t{t}" for t in world.topics], seed=0)
    assert found.nmi_language_before > 0.9 > 0.1 > found.nmi_language_after
    assert found.nmi_label is not None
    assert found.nmi_label_before is not None
    assert found.nmi_label > 0.9 > 0.2 > found.nmi_label_before
    assert sum(found.sizes) == len(world.vectors)
    assert found.stability == pytest.approx(1.0, abs=0.05)
    assert json.loads(json.dumps(found.to_dict()))["chosen_k"] == 4
    assert diagnose(space, world.vectors, world.languages, labels=[""] * len(world.vectors)).nmi_label is None


def test_terms_of_any_script():
    """Breaks if combining marks split a Hindi word, or a script without spaces yields one endless term."""
    assert list(terms_of("Set the timer, 5 min!")) == ["set", "the", "timer", "min"]
    assert list(terms_of("टाइमर बंद करो")) == ["टाइमर", "बंद", "करो"]
    assert list(terms_of("关灯 ok")) == ["ok", "关灯"]
    assert list(terms_of("")) == []


def test_clusters_are_named_by_what_sets_them_apart(make_world):
    """Breaks if frequent words win over telling ones, examples are not the central rows, or the reader's language is
    not preferred."""
    world = make_world({"en": EVEN, "cy": EVEN}, noise=0.05)
    words = ["lamp", "timer", "music", "weather"]
    texts = [f"the {words[t]} {tag}" for t, tag in zip(world.topics, world.languages, strict=True)]
    space = SemanticSpace.fit(world.vectors, world.languages, n_clusters=4, seed=0)
    names = name_clusters(space, world.vectors, world.languages, texts)
    assert sorted(name.terms[0] for name in names) == sorted(words)
    for name in names:
        assert name.examples == (f"the {name.terms[0]} en",)
    welsh = name_clusters(space, world.vectors, world.languages, texts, reader_language="cy")
    assert all(example.endswith(" cy") for name in welsh for example in name.examples)
    with pytest.raises(DataError, match="1 texts"):
        name_clusters(space, world.vectors, world.languages, ["one"])


def test_a_cluster_without_words_has_a_name():
    """Breaks if rows of digits or an empty cluster leave the report with a blank."""
    x = np.eye(4, dtype=np.float32)
    space = SemanticSpace.fit(x, ["en"] * 4, language_removal="none", n_clusters=4, seed=0)
    assert name_clusters(space, x[:1], ["en"], ["12"])[int(space.assign(x[:1], ["en"])[0])].name.startswith("cluster")
    assert len(name_clusters(space, x[:1], ["en"], ["12"])) == 4
