"""Counts and ratios of texts: what a selection strategy may know of them without seeing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
import regex

BUCKETS = 10_000
"""Buckets that n-grams are hashed into, DSIR's default."""
WORD_PUNCT = regex.compile(r"\w+|[^\w\s]+")
"""Words and runs of punctuation: nltk's WordPunctTokenizer, which DSIR uses. For `regex` vowel signs belong to the
word; the standard library's `re` tears Hindi and Thai apart there."""
WORD = regex.compile(r"[^\W_]+")
SUBWORD = 3
"""Characters of a piece, with a mark at either end of the word [ours]: stands for LangRank's learnt subwords."""


def ngram_counts(texts: Sequence[str], *, n: int = 2, buckets: int = BUCKETS) -> Any:
    """Return the (len(texts), buckets) scipy CSR matrix of hashed n-grams of 1 to n words, as DSIR counts them.

    Lower-cased, hashed by SHA-256 (Xie et al. 2023, arXiv 2302.03169): the counts of the authors' `data-selection`.
    """
    from scipy.sparse import csr_matrix

    columns: list[int] = []
    values: list[int] = []
    starts = [0]
    for text in texts:
        counts = Counter(_bucket(gram, buckets) for gram in _grams(text, n))
        columns += counts.keys()
        values += counts.values()
        starts.append(len(columns))
    return csr_matrix(
        (np.array(values, dtype=np.int64), np.array(columns, dtype=np.int64), np.array(starts, dtype=np.int64)),
        shape=(len(texts), buckets),
    )


def pair_statistics(target: Sequence[str], transfer: Sequence[str]) -> dict[str, float]:
    """Return LangRank's statistics of two languages' data (Lin et al. 2019, 1905.12688, section 4.1).

    target, transfer: texts. Overlaps are shared types over the sum of both type counts, of words and of subwords; sizes
    are texts; `ttr` is types per token; `ttr_distance` is (1 - transfer / target)^2. A ratio to nothing is left out.
    """
    ours, theirs = Counter(_words(target)), Counter(_words(transfer))
    found = {
        "word_overlap": _overlap(set(ours), set(theirs)),
        "subword_overlap": _overlap(_pieces(ours), _pieces(theirs)),
        "transfer_size": float(len(transfer)),
        "target_size": float(len(target)),
    }
    if target:
        found["size_ratio"] = len(transfer) / len(target)
    ratios = {}
    for name, words in (("transfer_ttr", theirs), ("target_ttr", ours)):
        if words:
            ratios[name] = len(words) / words.total()
    found.update(ratios)
    if len(ratios) == 2:
        found["ttr_distance"] = (1.0 - ratios["transfer_ttr"] / ratios["target_ttr"]) ** 2
    return found


def _grams(text: str, n: int) -> Iterator[str]:
    words = WORD_PUNCT.findall(text.lower())
    for length in range(1, n + 1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


@lru_cache(maxsize=1 << 18)
def _bucket(gram: str, buckets: int) -> int:
    return int(sha256(gram.encode("utf-8", "surrogatepass")).hexdigest(), 16) % buckets


def _words(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield from WORD.findall(text.casefold())


def _pieces(words: Counter[str]) -> set[str]:
    marked = (f"^{word}$" for word in words)
    return {word[i : i + SUBWORD] for word in marked for i in range(max(1, len(word) - SUBWORD + 1))}


def _overlap(one: set[str], other: set[str]) -> float:
    both = len(one) + len(other)
    return len(one & other) / both if both else 0.0
