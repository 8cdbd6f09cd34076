"""Identification answers where it can, and says `und` where it cannot."""

from __future__ import annotations

import pytest

from compass.data.identify import can_identify, identify_languages, language_confidences, supported_languages
from compass.data.languages import UNDETERMINED
from compass.errors import LanguageError

# Universal Declaration of Human Rights, article 1
ARTICLE = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "cy": "Genir pawb yn rhydd ac yn gydradd â'i gilydd mewn urddas a hawliau.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "zh": "人人生而自由,在尊严和权利上一律平等。",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
}


def test_sentences_are_identified() -> None:
    """Rows without a tag would be given to another language; the answers would be in another order than the texts."""
    assert identify_languages(list(ARTICLE.values())) == list(ARTICLE)
    assert identify_languages([*reversed(ARTICLE.values())]) == [*reversed(ARTICLE)]


def test_short_and_unsure_texts_stay_undetermined() -> None:
    """`Stop` would become a language by chance."""
    assert identify_languages(["stop", "", "12:30", "ok ok", "好"]) == [UNDETERMINED] * 5
    assert identify_languages(["stop"], min_letters=1, min_confidence=1.0) == [UNDETERMINED]


def test_restriction() -> None:
    """A language outside the given ones would be named; or tags with regions and three letters would be unknown."""
    assert identify_languages([ARTICLE["cy"]], languages=["cym", "en-GB"]) == ["cy"]
    (ranking,) = language_confidences([ARTICLE["cy"]], languages=["en", "fr", "de"])
    assert set(ranking) <= {"en", "fr", "de"}
    assert sum(ranking.values()) == pytest.approx(1.0)
    with pytest.raises(LanguageError, match="at least two"):
        identify_languages(["x"], languages=["cy"])


def test_supported_languages() -> None:
    """The filter would judge tags that identification cannot know."""
    assert len(supported_languages()) == 75
    assert can_identify("zh-TW")
    assert can_identify("no")
    assert not can_identify("kw")
