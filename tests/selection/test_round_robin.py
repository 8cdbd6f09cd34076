"""The round-robin against its objective, and the caps against cases worked by hand."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compass.selection.caps import DUPLICATE_LIFTED, LANGUAGE_CAP_LIFTED, NO_CAPS, OVER_LANGUAGE_CAP, Caps
from compass.selection.clusters import draw_by_cluster
from compass.selection.quotas import proportional
from compass.selection.round_robin import Requests, Reserved, round_robin


def requests_for(lists, shares):
    """Requests whose lists are given, each row with its place in the list as its score."""
    lists = tuple(np.array(rows, dtype=np.int64) for rows in lists)
    return Requests(
        requesters=np.arange(len(lists)),
        rows=lists,
        scores=tuple(-np.arange(len(rows), dtype=np.float32) for rows in lists),
        shares=np.array(shares, dtype=np.int64),
        depths=np.array([len(rows) for rows in lists]),
    )


@settings(max_examples=60, deadline=None)
@given(shares=st.lists(st.integers(1, 30), min_size=2, max_size=5), taken=st.integers(1, 25))
def test_every_prefix_is_that_of_sainte_lague(make_candidates, shares, taken):
    """Breaks if a turn is not that of the largest share / (got + 1/2); reference: the divisor method of seats."""
    c = make_candidates([1], [0], [200])
    lists = np.arange(200).reshape(-1, 40)[: len(shares)]
    picks = round_robin(c, requests_for(lists, shares), taken, NO_CAPS)
    got = np.zeros(len(shares))
    for request in picks.requests.tolist():
        assert request == int(np.argmax(np.array(shares) / (2 * got + 1)))
        got[request] += 1


def test_the_last_pick_leaves_proportional_fairness_at_its_maximum(make_candidates):
    """Breaks if the picks do not maximise sum of share x (1 + 1/3 + 1/5 + ... ), the sum that stands for
    share x log(picks) / 2; reference: every split of 9 picks over shares of 9, 5 and 2."""
    c = make_candidates([1], [0], [60])
    shares = [9, 5, 2]
    picks = round_robin(c, requests_for(np.arange(60).reshape(3, 20), shares), 9, NO_CAPS)

    def fairness(got):
        return sum(share * sum(1 / (2 * i + 1) for i in range(n)) for share, n in zip(shares, got, strict=True))

    splits = [own for own in itertools.product(range(10), repeat=3) if sum(own) == 9]
    assert fairness(np.bincount(picks.requests, minlength=3)) == pytest.approx(max(map(fairness, splits)))


def test_a_row_goes_to_one_request_and_a_request_for_nothing_comes_last(make_candidates):
    """Breaks if a row is taken twice, or if who asks for nothing takes a row that others want: both lists begin alike,
    and the third request gets what the others do not have in theirs."""
    c = make_candidates([1], [0], [10])
    lists = [[0, 1, 2], [0, 1, 3], [0, 1, 2, 3, 4, 5]]
    picks = round_robin(c, requests_for(lists, [3, 2, 0]), 6, NO_CAPS)
    assert picks.indices.tolist() == [0, 1, 2, 3, 4, 5]
    assert picks.requests.tolist() == [0, 1, 0, 1, 2, 2]
    assert picks.places.tolist() == [1, 1, 2, 2, 1, 2]
    assert picks.scores.tolist() == [0, -1, -2, -2, -4, -5]
    assert picks.notes == {}


def test_caps_are_set_aside_one_after_the_other(make_candidates):
    """Breaks if a cap gives way while another row is left, or in silence. Rows 0 to 3 are English, of which two may be
    taken; row 1 repeats row 0; rows 4 and 5 are German."""
    c = make_candidates([1], [0], [6])
    pool = np.eye(12, dtype=np.float32)[[0, 0, 1, 2, 3, 4]]
    c = dataclasses.replace(c, pool=pool, pool_languages=("en",) * 4 + ("de",) * 2)
    requests = requests_for([[0, 1, 2, 3, 4, 5]], [6])
    picks = round_robin(c, requests, 6, Caps(language_cap=1 / 3))
    assert picks.indices.tolist() == [0, 2, 4, 5, 3, 1]
    assert picks.lifted == ("", "", "", "", LANGUAGE_CAP_LIFTED, DUPLICATE_LIFTED)
    assert picks.notes[LANGUAGE_CAP_LIFTED] == picks.notes[DUPLICATE_LIFTED] == 1
    assert picks.notes[OVER_LANGUAGE_CAP] == 1
    assert round_robin(c, requests, 4, Caps(language_cap=1 / 2)).lifted == ("",) * 4


def test_a_reserved_row_is_taken_if_its_cluster_has_no_other(make_candidates):
    """Breaks if what a reserved row costs is spent on others, is lost where its cluster gets a pick by itself, or if
    reserved rows lead the list. Rows 0 to 9 are of cluster 0, row 10 of 1, row 12 of 2, 13 of 3."""
    c = make_candidates([1, 1, 1, 1], [0] * 4, [10, 2, 1, 1])
    reserved = (Reserved(11, 1, 0.5), Reserved(12, 2, 0.4), Reserved(13, 3, 0.3))
    requests = requests_for([[0, 10, 1, 2, 3, 4, 5, 6, 7]], [6])
    picks = round_robin(c, requests, 6, NO_CAPS, reserved=reserved)
    assert picks.indices.tolist() == [0, 10, 1, 2, 12, 13]
    assert picks.requests.tolist() == [0, 0, 0, 0, -1, -1]
    assert picks.scores.tolist()[-2:] == [0.4, 0.3]
    everything = round_robin(c, requests, 3, NO_CAPS, reserved=reserved)
    assert everything.indices.tolist() == [11, 12, 13]
    languages = tuple("de" if row == 9 else "en" for row in range(14))
    over = round_robin(dataclasses.replace(c, pool_languages=languages), requests, 6, Caps(0.5), reserved=reserved)
    assert over.lifted == ("", "", "", LANGUAGE_CAP_LIFTED, LANGUAGE_CAP_LIFTED, LANGUAGE_CAP_LIFTED)


def test_the_reserve_holds_in_tokens(make_candidates):
    """Breaks if rows that fit only into what is kept back for others are taken, or if it does not come free."""
    c = make_candidates([1, 1], [0, 0], [6, 2], costs=[10, 10, 10, 10, 10, 10, 25, 5])
    reserved = (Reserved(6, 1, 0.5),)
    assert round_robin(c, requests_for([range(6)], [50]), 50, NO_CAPS, reserved=reserved).indices.tolist() == [0, 1, 6]
    picks = round_robin(c, requests_for([[0, 7, 1, 2, 3]], [50]), 50, NO_CAPS, reserved=reserved)
    assert picks.indices.tolist() == [0, 7, 1, 2, 3]


def test_clusters_share_what_one_of_them_lacks(make_candidates):
    """Breaks if a draw within clusters leaves budget over, or if the shares of the others change: 12 rows at 5:3:2, of
    which the first can give two."""
    c = make_candidates([1], [0], [2, 20, 20])
    picks, demand = draw_by_cluster(c, np.array([0.5, 0.3, 0.2]), 12, seed=0)
    assert (
        np.bincount(c.pool_clusters[picks.indices]).tolist() == proportional([0.5, 0.3, 0.2], [2, 20, 20], 12).tolist()
    )
    assert demand.tolist() == [6, 4, 2]
    assert picks.lifted == ("",) * 12
