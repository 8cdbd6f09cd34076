"""Fertility counts what it says it counts."""

from __future__ import annotations

import pytest

from compass.data.fertility import fertility


def by_character(text: str) -> list[str]:
    return list(text)


def test_counts_by_hand() -> None:
    """The report would misstate what a language costs: all figures here are counted by hand."""
    english, welsh = fertility({"en": ["the cat sat"], "cy": ["eisteddodd – y gath", "tŷ"]}, by_character)
    assert (english.tokens_per_word, english.tokens_per_byte, english.relative_to_english) == (11 / 3, 1.0, 1.0)
    assert (welsh.texts, welsh.tokens, welsh.unit) == (2, 21, "word")  # the dash is no word
    assert welsh.tokens_per_word == pytest.approx(21 / 4)
    assert welsh.tokens_per_byte == pytest.approx(21 / 24)  # the dash has 3 bytes, ŷ has 2
    assert welsh.relative_to_english == pytest.approx((21 / 4) / (11 / 3))
    assert welsh.bytes_relative_to_english == pytest.approx(21 / 24)


def test_scripts_without_spaces_count_characters() -> None:
    """A Chinese sentence would be one word of twenty tokens, and its ratio to English words would be nonsense."""
    texts = {"en": ["a light"], "zh-CN": ["打开3号灯。 LED", "关灯"]}
    chinese = fertility(texts, by_character)[1]
    assert chinese.unit == "character"
    assert chinese.tokens_per_word == pytest.approx(12 / 8)  # six characters, `3` and `LED`
    assert chinese.relative_to_english is None
    assert chinese.bytes_relative_to_english is not None


def test_parallel_texts_compare_as_wholes() -> None:
    """For parallel texts the script would still stand in the way."""
    assert fertility({"zh": ["开灯"], "en": ["lights on"]}, by_character, parallel=True)[0].relative_to_english == 2 / 9


def test_without_english_or_words() -> None:
    """No English, or a language without any text, would divide by zero."""
    (welsh,) = fertility({"cy": ["golau"], "el": ["", "..."], "fr": []}, by_character)
    assert (welsh.language, welsh.relative_to_english, welsh.bytes_relative_to_english) == ("cy", None, None)
    assert set(welsh.to_dict()) >= {"language", "tokens_per_word", "tokens_per_byte", "relative_to_english"}
