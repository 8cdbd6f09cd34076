"""Selection: what the usage needs and the data at hand lacks, picked from the pool by a named strategy."""

from compass.selection.catalogue import describe_strategies, get_strategy, needs_of, strategy_names
from compass.selection.features import Extras, Gradients, ModelVectors, Ngrams, TransferResult, Typology
from compass.selection.protocol import AnswerAccount, Candidates, Selection, Strategy, build_candidates
from compass.selection.quotas import proportional, water_filling

__all__ = [
    "AnswerAccount",
    "Candidates",
    "Extras",
    "Gradients",
    "ModelVectors",
    "Ngrams",
    "Selection",
    "Strategy",
    "TransferResult",
    "Typology",
    "build_candidates",
    "describe_strategies",
    "get_strategy",
    "needs_of",
    "proportional",
    "strategy_names",
    "water_filling",
]
