"""From the options to an encoder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from compass.config import EncoderConfig
from compass.encoders.cache import CachedEncoder
from compass.encoders.protocol import Encoder


def load_encoder(config: EncoderConfig, cache_dir: Path) -> CachedEncoder:
    """Return the encoder that `config.encoder` names, with its cache under `cache_dir`.

    `embedded` is the packaged model, an `http://` or `https://` URL is an endpoint, everything else is a
    sentence-transformers name or folder. Raises MissingExtraError or EncoderError if it cannot be loaded.
    """
    return CachedEncoder(_open(config, cache_dir), cache_dir, opener=partial(_open, config, cache_dir))


def _open(config: EncoderConfig, cache_dir: Path) -> Encoder:
    if config.encoder == "embedded":
        from compass.encoders.embedded import EmbeddedEncoder

        return EmbeddedEncoder(device=config.encoder_device, checks=cache_dir / "embeddings")
    if config.is_endpoint:
        from compass.encoders.endpoint import EndpointEncoder

        return EndpointEncoder(
            config.encoder,
            model=config.encoder_model,
            revision=config.encoder_revision,
            batch_size=config.encoder_batch_size,
        )
    from compass.encoders.sentence_transformers import SentenceTransformersEncoder

    return SentenceTransformersEncoder(
        config.encoder,
        revision=config.encoder_revision,
        prompt_name=config.prompt_name,
        batch_size=config.encoder_batch_size,
        device=config.encoder_device,
        dtype=config.encoder_dtype,
    )
