"""Semantic space: language removal, clusters, distributions, gap and divergence."""

from compass.semantic.arrays import FloatArray, IntArray, RealArray
from compass.semantic.distributions import histogram, shares
from compass.semantic.divergence import jensen_shannon_divergence, jensen_shannon_divergences
from compass.semantic.gap import gap
from compass.semantic.space import SemanticSpace

__all__ = [
    "FloatArray",
    "IntArray",
    "RealArray",
    "SemanticSpace",
    "gap",
    "histogram",
    "jensen_shannon_divergence",
    "jensen_shannon_divergences",
    "shares",
]
