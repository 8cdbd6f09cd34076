from __future__ import annotations

import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from compass.semantic import SemanticSpace
from compass.semantic.offsets import mean_offset, mean_offsets, offset_of, remove_offsets, within_cluster_offsets

EVEN = [0.25, 0.25, 0.25, 0.25]


def test_mean_offsets_are_the_languages_means(make_world):
    """Breaks if sums, counts or tags get mixed up; 120 rows leave the shrinkage at 2/122 of the way to the mean."""
    world = make_world({"cy": EVEN, "en": EVEN, "th": EVEN})
    offsets = mean_offsets(world.vectors, world.languages)
    means = {tag: world.vectors[np.array(world.languages) == tag].mean(axis=0) for tag in ("cy", "en", "th")}
    common = np.mean(list(means.values()), axis=0)
    for tag, mean in means.items():
        np.testing.assert_allclose(offsets[tag], mean * 120 / 122 + common * 2 / 122, atol=1e-5)


def test_within_cluster_offsets_leave_the_topics_of_a_skewed_language(make_world):
    """Breaks if the offset of a language that speaks of one topic alone swallows that topic: its rows must still lie
    with the other languages' rows of this topic, which plain means do not manage in this world."""
    mixes = {"cy": [0.94, 0.02, 0.02, 0.02], "en": EVEN, "th": EVEN, "el": EVEN, "hi": EVEN}
    world = make_world(mixes, noise=0.1)
    rows = np.array(world.languages) == "cy"

    def nearest_topic_is_right(offsets):
        free = remove_offsets(world.vectors, world.languages, offsets, mean_offset(offsets))
        others = free[~rows]
        found = world.topics[~rows][np.argmax(free[rows] @ others.T, axis=1)]
        return float(np.mean(found == world.topics[rows]))

    within = within_cluster_offsets(world.vectors, world.languages, seed=0, n_clusters=4)
    assert nearest_topic_is_right(within) > 0.95
    assert nearest_topic_is_right(within) > nearest_topic_is_right(mean_offsets(world.vectors, world.languages)) + 0.2


def test_offsets_carry_what_all_rows_share(make_world):
    """Breaks if cluster means are not centred: then a vector common to all rows stays in every language-free row, as it
    does in encoders whose cosines all lie above 0.7. Here the residuals' mean is a hundredth of a row's length."""
    world = make_world(dict.fromkeys(("cy", "en", "th"), EVEN))
    shifted = world.vectors + 3.0
    offsets = within_cluster_offsets(shifted, world.languages, seed=0)
    residuals = shifted - np.stack([offsets[tag] for tag in world.languages])
    assert np.linalg.norm(residuals.mean(axis=0)) < 0.02


def test_removal_makes_clusters_follow_topics_instead_of_languages(make_world):
    """Breaks if removal is skipped or has the wrong sign: raw clusters here are languages."""
    world = make_world(dict.fromkeys(("cy", "en", "th", "el"), EVEN))
    nmi = {}
    for removal in ("none", "mean", "within-cluster"):
        space = SemanticSpace.fit(world.vectors, world.languages, language_removal=removal, n_clusters=4, seed=0)
        labels = space.assign(world.vectors, world.languages)
        nmi[removal] = (
            normalized_mutual_info_score(world.languages, labels),
            normalized_mutual_info_score(world.topics, labels),
        )
    assert nmi["none"][0] > 0.9
    for removal in ("mean", "within-cluster"):
        assert nmi[removal][0] < 0.1
        assert nmi[removal][1] > 0.9


def test_an_unseen_language_takes_a_relatives_offset_or_the_mean(make_world):
    """Breaks if the rule depends on anything but the tag: the same row must be placed the same in every batch."""
    world = make_world({"cy": EVEN, "pt-BR": EVEN, "pt-PT": EVEN})
    offsets = mean_offsets(world.vectors, world.languages)
    fallback = mean_offset(offsets)
    assert offset_of("pt", offsets, fallback) is offsets["pt-BR"]
    assert offset_of("xx", offsets, fallback) is fallback
    alone = remove_offsets(world.vectors[:1], ["xx"], offsets, fallback)
    together = remove_offsets(world.vectors[:50], ["xx"] + ["cy"] * 49, offsets, fallback)
    np.testing.assert_array_equal(alone[0], together[0])


def test_a_row_that_equals_its_offset_keeps_its_direction():
    """Breaks if such a row becomes NaN or zero, which would poison every later cosine."""
    x = np.eye(3, dtype=np.float32)[:1]
    np.testing.assert_array_equal(remove_offsets(x, ["cy"], {"cy": x[0]}, x[0]), x)
