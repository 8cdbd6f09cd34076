"""Scores of languages, one text at a time and many side by side."""

from __future__ import annotations

import numpy as np

from compass.data.byte_ngrams import FEW_TEXTS, FLOOR, scores_by_column

TEXTS = (
    "Trowch y golau ymlaen yn y gegin", "Άναψε το φως στην κουζίνα", "東京都に行きます", "ok", "", "\0", "1234",
    "Please turn on the light in the kitchen " * 9, "AAAA aaaa", "é", "e\u0301",
)  # fmt: skip


def test_a_texts_scores_are_the_same_bits_whatever_is_beside_it() -> None:
    """A text at a threshold would have one language alone, as the gateway asks, and another among a pool's rows."""
    assert len(TEXTS) > FEW_TEXTS
    together = scores_by_column(TEXTS)
    alone = [scores_by_column([text])[0] for text in TEXTS]
    assert np.array_equal(together, np.array(alone))
    assert (together[TEXTS.index("")] == FLOOR).all()
    assert scores_by_column([]).shape[0] == 0
