"""Distances against URIEL+'s own, run in a process of its own because importing it configures logging."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys

import numpy as np
import pytest

from compass.data.typology import angle, relatives, uriel_code, uriel_distances
from compass.errors import LanguageError, MissingExtraError

LANGUAGES = {"cy": "cym", "ga": "gle", "en": "eng", "th": "tha", "zh-CN": "zho", "ne": "npi", "eu": "eus"}
THEIRS = """
import json, sys
from urielplus.urielplus import URIELPlus
uriel = URIELPlus()
codes = sys.argv[1:]
categories = ("genetic", "geographic", "syntactic", "phonological", "inventory", "featural")
print(json.dumps({c: uriel.new_distance(c, codes)[0].tolist() for c in categories}))
"""


def test_distances_are_those_of_uriel_plus():
    """Breaks if features, sources, what is shared, or the angle are another; reference: the package's own class, whose
    distances are rounded to four decimals and are -1 where it knows none."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THEIRS, *LANGUAGES.values()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    theirs = json.loads(done.stdout)
    ours = uriel_distances("cy", list(LANGUAGES))
    for place, language in enumerate(list(LANGUAGES)[1:], start=1):
        reference = {category: row[place] for category, row in theirs.items() if row[place] != -1}
        assert ours[language] == pytest.approx(reference, abs=1e-4)
    assert "phonological" not in ours["ga"]
    assert set(ours["th"]) == {"genetic", "geographic", "syntactic", "featural"}


def test_codes_of_macrolanguages_and_regions():
    """Breaks if a common tag is lost between ISO 639-1, macrolanguages and URIEL, or `und` is an error."""
    found = [uriel_code(tag) for tag in ("pt-BR", "ar", "zh-Hant", "nb", "no", "sw", "fa", "und", "he")]
    assert found == ["por", "arb", "zho", "nob", "nob", "swh", "pes", "", "heb"]
    with pytest.raises(LanguageError):
        uriel_code("welsh speech")


def test_relatives_share_a_family():
    """Breaks if geography is taken for descent, or an isolate gets relatives."""
    pool = ["en", "fi", "hi", "ga", "zh", "und", "cy"]
    assert relatives("cy", pool) == {"en", "hi", "ga", "cy"}
    assert relatives("eu", pool) == frozenset()
    assert relatives("und", pool) == frozenset()
    assert uriel_distances("und", ["en"]) == {"en": {}}
    assert uriel_distances("cy", ["und"]) == {"und": {}}


def test_angles_by_hand():
    """Breaks if unknown features count, or all-zero vectors divide by zero: 45 degrees are half of the way to 1."""

    def distance(one, other):
        return angle(np.array(one, dtype=np.float32), np.array(other, dtype=np.float32))

    assert distance([1, 1, -1, 1], [1, 0, 1, -1]) == pytest.approx(0.5)
    assert distance([1, 0], [0, 1]) == pytest.approx(1.0)
    assert distance([1, -1], [-1, 1]) is None
    assert distance([0, 0], [1, 1]) == pytest.approx(0.0, abs=1e-7)


def test_a_missing_package_is_said(monkeypatch):
    """Breaks if the strategy that needs it ends in an AttributeError; logging must stay the program's own besides."""
    handlers = list(logging.root.handlers)
    uriel_distances("cy", ["en"])
    assert list(logging.root.handlers) == handlers
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"compass-peft\[uriel\]"):
        relatives("cy", ["en"])
