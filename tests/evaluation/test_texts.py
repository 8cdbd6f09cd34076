"""Likeness of texts, against the libraries that define it, in scripts of every kind."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter

import pytest
import sacrebleu

from compass.data.scripts import is_unspaced
from compass.evaluation.texts import chrf, rouge_l, token_f1, tokens


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The End, the end!", ["the", "end", "the", "end"]),
        ("வணக்கம் உலகம்", ["வணக்கம்", "உலகம்"]),  # vowel signs are no letters to `re`
        ("می‌خواهم بروم", ["می‌خواهم", "بروم"]),  # nor is the non-joiner inside of a word
        ("मैं ठीक हूँ।", ["मैं", "ठीक", "हूँ"]),
        ("ฉันกิน", ["ฉั", "น", "กิ", "น"]),
        ("我用tar命令", ["我", "用", "tar", "命", "令"]),
        ("カレー を", ["カ", "レ", "ー", "を"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        (unicodedata.normalize("NFD", "été"), ["été"]),
        ("..", [".."]),
        (" ", []),
    ],
)
def test_tokens(text: str, wanted: list[str]) -> None:
    """Words of Tamil or Persian would fall into pieces, and a Chinese sentence would be one word."""
    assert tokens(text) == wanted


def test_scripts_without_spaces_are_those_of_the_cleaning_rules() -> None:
    """A script that only one of the two lists has would count as one long word in the scores."""
    for letter in "漢かカㄅกກကཀកaбعअஅ한":
        assert (len(tokens(letter * 2)) == 2) is is_unspaced(letter), letter


def test_chrf_is_that_of_sacrebleu() -> None:
    assert chrf("tar xf file", "tar cf file") == pytest.approx(
        sacrebleu.sentence_chrf("tar xf file", ["tar cf file"]).score / 100
    )
    assert chrf(" வணக்கம் ", "வணக்கம்") == 1.0
    assert chrf("", "வணக்கம்") == 0.0


def test_rouge_l_is_that_of_rouge_score() -> None:
    """The length of the common subsequence comes from bits: a lost carry would change it in long texts alone."""
    from rouge_score.rouge_scorer import _score_lcs

    rng = random.Random(0)
    for length in (1, 4, 9, 80):
        for _ in range(20):
            one, other = ([rng.choice("abcd") for _ in range(rng.randint(0, length))] for _ in range(2))
            wanted = _score_lcs(other, one).fmeasure if one and other else 0.0
            assert rouge_l(one, other) == pytest.approx(wanted)


def test_token_f1_is_that_of_squad() -> None:
    """Repeated words count as often as both have them; the order does not matter."""
    one, other = tokens("a a b c"), tokens("c a d")
    same = sum((Counter(one) & Counter(other)).values())
    precision, recall = same / len(one), same / len(other)
    assert token_f1(one, other) == pytest.approx(2 * precision * recall / (precision + recall))
    assert token_f1([], other) == token_f1(one, []) == 0.0
    assert token_f1(tokens(".."), tokens("..")) == 1.0
    assert token_f1(tokens(".."), tokens("~")) == 0.0
