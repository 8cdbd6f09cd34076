"""Counts against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from compass.data.text_features import WORD_PUNCT, ngram_counts, pair_statistics

TEXTS = ["Golau ymlaen, golau!", "", "बत्ती जलाओ", "turn on  the light; turn on the light"]


def test_ngrams_against_scikit_learn():
    """Breaks if an n-gram is missed or counted twice: with a million buckets hardly two share one, so the sorted counts
    of each row are those of scikit-learn's vectoriser."""
    ours = ngram_counts(TEXTS, n=3, buckets=1_000_003)
    theirs = CountVectorizer(ngram_range=(1, 3), tokenizer=WORD_PUNCT.findall, token_pattern=None).fit_transform(TEXTS)
    assert ours.shape == (4, 1_000_003)
    for one, other in zip(ours.toarray(), theirs.toarray(), strict=True):
        assert sorted(one[one > 0].tolist()) == sorted(other[other > 0].tolist())


def test_buckets_are_stable():
    """Breaks if hashes change between processes, as Python's own do: "golau" is in bucket 9,443 of 10,000 (SHA-256)."""
    import hashlib

    bucket = int(hashlib.sha256(b"golau").hexdigest(), 16) % 10_000
    assert ngram_counts(["Golau"]).toarray()[0, bucket] == 1


def test_statistics_by_hand():
    """Breaks if a ratio is another one. Target: 4 tokens, 3 types; transfer: 5 tokens, 4 types; two types shared."""
    found = pair_statistics(["Golau on, golau", "off!"], ["lamp on", "off on", "haus"])
    assert found["word_overlap"] == pytest.approx(2 / 7)
    assert (found["transfer_size"], found["target_size"], found["size_ratio"]) == (3.0, 2.0, 1.5)
    assert (found["transfer_ttr"], found["target_ttr"]) == pytest.approx((4 / 5, 3 / 4))
    assert found["ttr_distance"] == pytest.approx((1 - (4 / 5) / (3 / 4)) ** 2)
    # Pieces of three with marks: ^on on$ ^of off ff$ on both sides, besides 5 of golau and 4 + 4 of lamp and haus.
    assert found["subword_overlap"] == pytest.approx(5 / (10 + 13))


def test_what_has_no_ratio_is_left_out():
    """Breaks if a language without a word divides by zero."""
    assert set(pair_statistics([], ["lamp"])) == {
        "word_overlap", "subword_overlap", "transfer_size", "target_size", "transfer_ttr",
    }  # fmt: skip
    assert "ttr_distance" not in pair_statistics(["a"], ["?!"])
    assert np.isfinite(list(pair_statistics([], []).values())).all()
