"""What is dropped from a set of examples before anything is learnt from it, and why.

The rules, in order: empty, oversize, wrong language, exact duplicates, near duplicates, overlap with held-out texts.
Last, if asked for, private data in the rows that stay is replaced: the comparisons before need the texts as they came.
No rule draws at random, and none depends on the order of the rows: which of several duplicates stays is decided by tag,
id and text. The rows that stay keep their order. All thresholds and rules here are our own choice [ours].

A new rule is a function and a line in the table in `rules.clean`.
"""

from __future__ import annotations

from compass.data.cleaning.decontamination import NGRAM, TRANSLATION, decontaminate
from compass.data.cleaning.result import Cleaned, with_left_out
from compass.data.cleaning.rules import NO_RESPONSE, clean
from compass.data.example import Dropped

__all__ = ["NGRAM", "NO_RESPONSE", "TRANSLATION", "Cleaned", "Dropped", "clean", "decontaminate", "with_left_out"]
