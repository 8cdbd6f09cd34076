"""Texts to unit vectors: the `Encoder` protocol, three encoders, and the cache on disk in front of them."""

from compass.encoders.cache import CachedEncoder
from compass.encoders.load import load_encoder
from compass.encoders.protocol import Encoder, FloatArray

__all__ = ["CachedEncoder", "Encoder", "FloatArray", "load_encoder"]
