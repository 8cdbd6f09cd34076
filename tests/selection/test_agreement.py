"""Whether classes follow from prompts, and what is said where they do not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from compass.selection import get_strategy
from compass.selection.agreement import agreement, has_classes, neighbours, rows_with_class, why_no_class_quotas


@pytest.fixture
def by_topic(make_candidates):
    """Candidates whose class is the topic: usage of topics 0 and 1, training rows of 0 to 2."""
    c = make_candidates([6, 6, 0, 0], [2, 2, 8, 0], [40, 40, 40, 40], noise=0.1)
    return dataclasses.replace(c, train_classes=c.train_clusters, pool_classes=c.pool_clusters)


@pytest.mark.parametrize("mixed_languages", [True, False])
def test_agreement_is_cohens_kappa_with_the_nearest_row_cross_lingual_or_not(by_topic, mixed_languages):
    """Breaks if a row is its own neighbour, if chance is not taken off, or if not the smaller of the two counts."""
    mixed = np.where(np.arange(160) % 3 == 0, 3, by_topic.pool_classes)
    languages = by_topic.pool_languages if mixed_languages else tuple("de" if own % 2 else "fr" for own in mixed)
    c = dataclasses.replace(by_topic, pool_classes=mixed, pool_languages=languages)
    similarity = c.pool @ c.pool.T
    np.fill_diagonal(similarity, -1)
    alike = np.array([[own == other for other in languages] for own in languages])
    kappas = [
        cohen_kappa_score(mixed, mixed[np.where(passed_over, -1, similarity).argmax(axis=1)])
        for passed_over in (alike, ~alike)
    ]
    assert agreement(c, 0) == pytest.approx(min(kappas))
    assert agreement(by_topic, 0) == pytest.approx(1.0)


def test_one_language_has_nothing_to_agree_with(by_topic):
    """Breaks with an error, or a kappa, where the pool has one language or one class."""
    assert agreement(dataclasses.replace(by_topic, pool_languages=("de",) * 160), 0) == 0.0
    assert agreement(dataclasses.replace(by_topic, pool_classes=np.zeros(160, dtype=np.int64)), 0) == 0.0
    assert agreement(dataclasses.replace(by_topic, pool_classes=np.full(160, -1)), 0) == 0.0
    without = dataclasses.replace(by_topic, train_classes=None, pool_classes=None)
    assert agreement(without, 0) == 0.0
    assert not has_classes(without)


def test_translations_of_one_question_are_no_class(make_candidates):
    """Breaks if the answer to one question, the same in all languages, counts as a class that the prompt decides."""
    c = make_candidates([6, 6, 0, 0], [3, 3, 3, 3], [40, 40, 40, 40], noise=0.2)
    questions = np.arange(160) // 4
    vectors = c.pool[questions * 4] + 1e-3 * c.pool
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    translated = dataclasses.replace(
        c,
        pool=vectors,
        pool_classes=questions,
        pool_languages=("de", "fr", "it", "es") * 40,
        train_classes=np.arange(12),
    )
    assert why_no_class_quotas(translated, 0) == "the class does not follow from the prompt"
    topics = dataclasses.replace(translated, pool_classes=c.pool_clusters, train_classes=c.train_clusters)
    assert why_no_class_quotas(topics, 0) == ""


def test_classes_that_cannot_have_quotas_change_no_pick(by_topic):
    """Breaks if classes steer the picks that say nothing of the prompt (choices A to D)."""
    rng = np.random.default_rng(0)
    letters = dataclasses.replace(by_topic, train_classes=rng.integers(0, 4, 12), pool_classes=rng.integers(0, 4, 160))
    one = dataclasses.replace(by_topic, train_classes=np.zeros(12, dtype=np.int64))
    without = dataclasses.replace(by_topic, train_classes=None, pool_classes=None)
    off = get_strategy("compass:class_quotas=false").select(by_topic, 40, seed=0)
    for c in (letters, one, without):
        selection = get_strategy("compass").select(c, 40, seed=0)
        assert selection.indices.tolist() == off.indices.tolist()
        assert selection.classes is off.classes is None


def test_short_responses_among_free_text_that_do_not_repeat_are_no_classes(by_topic):
    """Breaks if commands or numbers, each given once, get quotas because translations of one page share them."""
    some = np.arange(12) % 2 == 0
    unique = dataclasses.replace(by_topic, train_classes=np.where(some, np.arange(12), -1))
    assert why_no_class_quotas(unique, 0) == "too many responses are free text"
    repeated = dataclasses.replace(by_topic, train_classes=np.where(some, by_topic.train_classes, -1))
    assert why_no_class_quotas(repeated, 0) == ""


def test_free_text_beside_classes_is_one_class_more(by_topic):
    """Breaks if the quotas of all classes go because some responses are free text, or if its rows go without.

    Usage asks for topics 0 and 1 alike; the responses of topic 1 are free text, in the training data as in the pool.
    """
    changes = {
        name: np.where((own := getattr(by_topic, name)) == 1, -1, own) for name in ("train_classes", "pool_classes")
    }
    selection = get_strategy("compass").select(dataclasses.replace(by_topic, **changes), 40, seed=0)
    topics = np.bincount(by_topic.pool_clusters[selection.indices], minlength=4)
    assert topics[:2].tolist() == [20, 20]
    account = selection.classes
    free = account.classes.tolist().index(-1)
    assert (account.train[free], account.supply[free], account.quotas[free], account.picked[free]) == (2, 40, 20, 20)
    assert account.expected[free] == pytest.approx(0.5, abs=0.05)


def test_a_note_says_why_there_are_no_quotas(by_topic):
    """Breaks if quotas that were asked for are left out in silence, or if the note comes where they are not."""
    letters = np.random.default_rng(0).integers(0, 4, 160)
    changes = {
        "": {},
        "too many responses are free text": {"pool_classes": np.full(160, -1)},
        "the pool is in one language": {"pool_languages": ("de",) * 160},
        "the class does not follow from the prompt": {"pool_classes": letters},
        "the training data has one class": {"train_classes": np.zeros(12, dtype=np.int64)},
        "there is no training data": {
            "train": by_topic.train[:0],
            "train_clusters": by_topic.train_clusters[:0],
            "train_classes": by_topic.train_classes[:0],
        },
    }
    for why, change in changes.items():
        c = dataclasses.replace(by_topic, **change)
        for on in (True, False):
            notes = get_strategy(f"compass:class_quotas={on}").select(c, 40, seed=0).notes
            expected = {f"usage rows served without class quotas: {why}": 12}
            assert {k: n for k, n in notes.items() if "quotas" in k} == (expected if why and on else {})


def test_cross_lingual_neighbours_are_the_nearest_rows_in_other_languages(by_topic):
    """Breaks if a row's own language counts; by hand over the whole matrix."""
    rows, near = neighbours(by_topic, rows_with_class(by_topic, 0), 3, cross_lingual=True)
    similarity = by_topic.pool @ by_topic.pool.T
    for row, language in enumerate(by_topic.pool_languages):
        similarity[row, [other == language for other in by_topic.pool_languages]] = -np.inf
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :3]
    assert sorted(rows.tolist()) == list(range(160))
    assert {row: set(own) for row, own in zip(rows.tolist(), near.tolist(), strict=True)} == {
        row: set(own) for row, own in enumerate(best.tolist())
    }
