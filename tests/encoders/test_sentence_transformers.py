"""A tiny random BERT in a folder: nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compass.encoders import CachedEncoder
from compass.encoders.sentence_transformers import SentenceTransformersEncoder, folder_hash
from compass.errors import EncoderError, MissingExtraError

TEXTS = ["turn on the light", "light", "set the timer on the light", "turn"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a two-layer BERT of width 16 and two prompts."""
    library = pytest.importorskip("sentence_transformers")
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "turn", "on", "the", "light", "set", "timer", "query", ":"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    # a folder without modules.json is read as a transformer with mean pooling
    prompts = {"query": "query: ", "document": ""}
    made = library.SentenceTransformer(str(folder / "bert"), prompts=prompts, device="cpu")
    made.save(str(folder / "model"))
    return folder / "model"


def encoder(model: Path, **options: object) -> SentenceTransformersEncoder:
    return SentenceTransformersEncoder(str(model), device="cpu", **options)  # type: ignore[arg-type]


def test_rows_equal_mean_pooling(model: Path) -> None:
    """Breaks if rows are not the normalised masked mean of transformers' own last hidden state, in the given order."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    rows = encoder(model, batch_size=2).encode(TEXTS)
    tokenizer, bert = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model)
    bert.eval()
    for text, row in zip(TEXTS, rows, strict=True):
        with torch.no_grad():
            mean = bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)
    assert rows.dtype == np.float32
    assert rows.shape == (4, 16)


def test_repeatable_and_nearly_free_of_neighbours(model: Path) -> None:
    """Breaks if dropout is on or padding leaks into a row by more than rounding (1e-7 documented, 1e-5 allowed)."""
    first = encoder(model, batch_size=4)
    rows = first.encode(TEXTS)
    np.testing.assert_array_equal(first.encode(TEXTS), rows)
    np.testing.assert_allclose(np.concatenate([first.encode([text]) for text in TEXTS]), rows, atol=1e-5)


def test_prompt_changes_rows_and_name(model: Path) -> None:
    """Breaks if prompt_name is not applied, or two prompts share one place in the cache."""
    plain, query = encoder(model), encoder(model, prompt_name="query")
    np.testing.assert_allclose(query.encode(["light"]), plain.encode(["query: light"]), atol=1e-6)
    assert plain.name != query.name
    assert plain.revision == query.revision
    with pytest.raises(EncoderError, match=r"no prompt 'passage' .*document, query"):
        encoder(model, prompt_name="passage")


def test_bfloat16_has_a_cache_of_its_own(model: Path, tmp_path: Path) -> None:
    """Breaks if the data type is not handed on, or vectors of two types are mixed in one folder."""
    plain, half = encoder(model), encoder(model, dtype="bfloat16")
    difference = np.abs(plain.encode(TEXTS) - half.encode(TEXTS)).max()
    assert 1e-5 < difference < 0.05
    folders = {CachedEncoder(each, tmp_path).store.folder for each in (plain, half, encoder(model, dtype="float32"))}
    assert len(folders) == 3


def test_odd_texts(model: Path) -> None:
    """Breaks if the tokenizer is given what it cannot encode, or an empty list has another width."""
    made = encoder(model)
    assert np.isfinite(made.encode(["", "\ud83d", "turn\0on", "turn " * 500])).all()
    assert made.encode([]).shape == (0, 16)


def test_revision_of_a_folder_is_its_content(tmp_path: Path) -> None:
    """Breaks if other weights in the same folder are taken for the old ones, or a README counts."""
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = folder_hash(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert folder_hash(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert folder_hash(tmp_path) != first
    assert first.startswith("sha256:")


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a missing package is a traceback instead of a pip line."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"compass-peft\[sentence-transformers\]"):
        SentenceTransformersEncoder("any/model")


def test_an_encoder_with_code_of_its_own_is_refused_with_a_way_on(tmp_path: Path) -> None:
    """The library says to pass trust_remote_code, an option that is the base model's alone here."""
    code = {"AutoConfig": "configuration_my.MyConfig", "AutoModel": "modeling_my.MyModel"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "my", "auto_map": code}), encoding="utf-8")
    (tmp_path / "configuration_my.py").write_text("raise SystemExit('it was run')", encoding="utf-8")
    with pytest.raises(EncoderError, match=r"code is never run, whatever --trust-remote-code says.*/v1/embeddings"):
        SentenceTransformersEncoder(str(tmp_path))
