"""How near a text is to the expected one: chrF, token F1 and ROUGE-L, in any script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import regex

from compass.data.calls import nfc

if TYPE_CHECKING:
    from sacrebleu.metrics.chrf import CHRF

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_TOKEN = regex.compile(
    # Vowel signs and joiners are parts of words in Indic scripts and in Persian; `\w` of `re` cuts words there.
    rf"[[\p{{L}}\p{{N}}]&&[{_UNSPACED}]]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}_\u200c\u200d]--[{_UNSPACED}]]+",
    regex.VERSION1,
)


def tokens(text: str) -> list[str]:
    """Return a text's words, case folded and without punctuation; scripts without spaces give their characters.

    As SQuAD's scorer has it, but in any language: no articles are dropped, as these are English. A character of a
    script without spaces (Han, kana, Thai, Lao, Khmer, Burmese, Tibetan) comes with its vowel signs and tone marks.
    """
    text = nfc(text.strip()).casefold()
    # What has no word, such as `..`, is one token itself.
    return _TOKEN.findall(text) or ([text] if text else [])


def chrf(prediction: str, response: str) -> float:
    """Return sentence chrF in [0, 1]: the F2 score over character n-grams up to 6, as sacrebleu computes it."""
    return float(_chrf().sentence_score(nfc(prediction.strip()), [nfc(response.strip())]).score) / 100.0


def token_f1(prediction: Sequence[str], response: Sequence[str]) -> float:
    """Return the F1 score of the tokens that both have, in [0, 1], as SQuAD does (Rajpurkar et al. 2016)."""
    return _f1((Counter(prediction) & Counter(response)).total(), prediction, response)


def rouge_l(prediction: Sequence[str], response: Sequence[str]) -> float:
    """Return the F1 score of the longest common subsequence of tokens, in [0, 1] (Lin 2004, ROUGE-L with beta 1)."""
    return _f1(_common_subsequence(prediction, response), prediction, response)


def _f1(shared: int, prediction: Sequence[str], response: Sequence[str]) -> float:
    return 2.0 * shared / (len(prediction) + len(response)) if shared else 0.0


def _common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence: one bit for each token of `one` (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for i, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << i
    every = (1 << len(one)) - 1
    open_ = every
    for token in other:
        matched = open_ & places.get(token, 0)
        open_ = ((open_ + matched) | (open_ - matched)) & every
    return len(one) - open_.bit_count()


@cache
def _chrf() -> CHRF:
    # Loaded only where a test has free text.
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
