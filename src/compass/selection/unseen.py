"""Which usage rows ask for a class that the training data lacks: P(unseen | usage row) [ours].

Two signs tell, and both err. A row may be no nearer to the training data than rows of different classes are to each
other. And its nearest pool rows, which are in other languages, may vote for classes that the training data lacks. How
often each sign is wrong is seen on the training data and on the pool, where the classes are known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from compass.selection.agreement import neighbours, rows_with_class
from compass.selection.protocol import Candidates
from compass.semantic.arrays import FloatArray, IntArray, RealArray, nearest_rows

CHUNK_ROWS = 2048
"""Training rows that are compared with all others at once: memory goes by this, not by the square of them."""
JUDGED_TOGETHER = 3
"""Usage rows whose odds are averaged: a row and those nearest to it."""
ROUNDS = 200
"""Rounds of expectation maximisation, at most; it stands still long before."""

Odds = Callable[[RealArray], RealArray]
"""A sign's values, (n,) -> log of the odds that they speak for an unseen class, (n,), where both are as frequent."""


def unseen_probabilities(candidates: Candidates, votes: IntArray, known: IntArray, seed: int) -> RealArray:
    """Return how likely each usage row asks for a class that the training data lacks, (n_U,).

    votes: (n_U, k) classes of the pool rows nearest to each usage row. known: (G,) classes of the training data. The
    odds of the two signs are multiplied, and those of rows that are alike averaged. What share of usage is unseen is
    not known beforehand; it is found with the probabilities by expectation maximisation (Saerens et al. 2002,
    10.1162/089976602753284446).
    """
    pool, own = candidates.pool_classes, candidates.train_classes
    if pool is None or own is None or not np.isin(pool[pool >= 0], known).any():
        return np.where((votes >= 0).any(axis=1), 1.0, 0.0)
    if np.isin(pool[pool >= 0], known).all():
        return np.zeros(len(votes))
    rows, voted = candidates.train[own >= 0], _unseen_votes(votes, known)
    signs = [
        (_odds_of_nearness(rows, own[own >= 0]), (candidates.usage @ rows.T).max(axis=1).astype(np.float64)),
        (_odds_of_votes(candidates, pool, votes.shape[1], known, seed), voted),
    ]
    odds = [sign(values) for sign, values in signs if sign is not None]
    if not odds:
        return voted
    alike, _ = nearest_rows(candidates.usage, candidates.usage, JUDGED_TOGETHER)
    return _with_share(np.sum(odds, axis=0)[alike].mean(axis=1))


def _with_share(odds: RealArray) -> RealArray:
    """Return probabilities, (n,), whose mean is the share that they were found with. odds: (n,) logs."""
    share = 0.5
    probabilities = np.full(len(odds), share)
    for _ in range(ROUNDS):
        probabilities = 1.0 / (1.0 + np.exp(-(odds + np.log(share / (1.0 - share)))))
        before, share = share, float(np.clip(probabilities.mean(), 1e-4, 1.0 - 1e-4))
        if abs(share - before) < 1e-6:
            break
    return probabilities


def _odds_of_nearness(rows: FloatArray, classes: IntArray) -> Odds | None:
    """Return what the cosine to the nearest training row says; None where the training data can't tell.

    rows: (n, d) training rows with a class, classes: (n,). A row of a seen class is like a training row that is held
    against all others, one of an unseen class like one that is held against other classes alone. Each class counts
    alike.
    """
    same, other = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = np.arange(start, min(start + CHUNK_ROWS, len(rows)))
        similarity = rows[chunk] @ rows.T
        similarity[np.arange(len(chunk)), chunk] = -np.inf
        alike = classes[chunk, None] == classes[None, :]
        same[chunk] = np.where(alike, similarity, -np.inf).max(axis=1)
        other[chunk] = np.where(alike, -np.inf, similarity).max(axis=1)
    usable = np.isfinite(same) & np.isfinite(other)
    weights = 1.0 / np.bincount(classes)[classes[usable]]
    return _odds(np.maximum(same, other)[usable], other[usable], weights, weights)


def _odds_of_votes(candidates: Candidates, classes: IntArray, k: int, known: IntArray, seed: int) -> Odds | None:
    """Return what the share of votes for unseen classes says, by the pool's own rows; None where they can't tell.

    classes: (n_A,) of the pool.
    """
    rows, near = neighbours(candidates, rows_with_class(candidates, seed), k, cross_lingual=True)
    voted, own = _unseen_votes(np.where(near >= 0, classes[near], -1), known), ~np.isin(classes[rows], known)
    return _odds(voted[~own], voted[own], np.ones(int(np.sum(~own))), np.ones(int(np.sum(own))))


def _unseen_votes(votes: IntArray, known: IntArray) -> RealArray:
    """Return the share of each row's votes that are for unseen classes, (n,). votes: (n, k) classes, -1 for none."""
    counted = votes >= 0
    share: RealArray = np.sum(~np.isin(votes, known) & counted, axis=1) / np.maximum(counted.sum(axis=1), 1)
    return share


def _odds(seen: RealArray, unseen: RealArray, seen_weights: RealArray, unseen_weights: RealArray) -> Odds | None:
    """Fit a logistic regression to the values that a sign has for seen and for unseen classes, as if equally many.

    None where there is no value of one kind.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not len(seen) or not len(unseen):
        return None
    values = np.concatenate([seen, unseen])[:, None]
    is_unseen = np.repeat([0, 1], [len(seen), len(unseen)])
    weights = np.concatenate([seen_weights / seen_weights.sum(), unseen_weights / unseen_weights.sum()])
    # Standardised: cosines lie so close together that the penalty would flatten them.
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        values, is_unseen, logisticregression__sample_weight=weights * len(values) / 2
    )

    def odds(sign: RealArray) -> RealArray:
        found: RealArray = fitted.decision_function(sign[:, None])
        return found

    return odds
