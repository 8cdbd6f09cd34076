"""Selection: what usage needs and the training data lacks, picked from the pool by a named strategy."""

from compass.selection.caps import Caps
from compass.selection.catalogue import describe_strategies, get_strategy, strategy_names
from compass.selection.coverage import PICKS_FOR_A_NEED
from compass.selection.features import Features, Gradients, ModelVectors, Ngrams, TransferResult, Typology
from compass.selection.how_many import how_many
from compass.selection.labelling import ToLabel, choose_to_label
from compass.selection.protocol import Candidates, ClassAccount, Selection, Strategy, build_candidates
from compass.selection.quotas import proportional, water_filling
from compass.selection.survey import LARGE_POOL

__all__ = [
    "LARGE_POOL",
    "PICKS_FOR_A_NEED",
    "Candidates",
    "Caps",
    "ClassAccount",
    "Features",
    "Gradients",
    "ModelVectors",
    "Ngrams",
    "Selection",
    "Strategy",
    "ToLabel",
    "TransferResult",
    "Typology",
    "build_candidates",
    "choose_to_label",
    "describe_strategies",
    "get_strategy",
    "how_many",
    "proportional",
    "strategy_names",
    "water_filling",
]
