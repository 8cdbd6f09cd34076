"""Damaged adapters: refused by one message, or loaded with the weights that they hold."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.training.adapters import check_adapter, load_with_adapter
from compass.training.models import BaseModel, resolve_model
from fuzzing import damage_file, fuzz, refused_or_fine

FIXTURES = Path(__file__).parent.parent / "fixtures" / "v0_1"
FILES = ("adapter_config.json", "adapter_model.safetensors")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    # Before the first input: the libraries take longer to load than an input may.
    model = resolve_model(str(FIXTURES / "model"), cache_dir=tmp_path_factory.mktemp("cache"))
    load_with_adapter(model, None)
    return model


@fuzz(15, share=0.07)
@given(data=st.data())
def test_a_damaged_adapter(base: BaseModel, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "adapter"
        shutil.copytree(FIXTURES / "run" / "adapter", folder)
        config = folder / FILES[0]
        config.write_text(config.read_text("utf-8").replace('"model"', f'"{base.name}"', 1), encoding="utf-8")
        damage_file(data, folder / data.draw(st.sampled_from(FILES)))
        with refused_or_fine(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_adapter(folder, base)
            load_with_adapter(base, folder)
