"""Tests of finding and checking base models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compass.errors import ModelError
from compass.training.models import READ_WHOLE, BaseModel, check_adapter, folder_revision, load_base, resolve_model


def test_a_folder_is_a_model_only_with_its_configuration(tmp_path: Path, tiny: BaseModel) -> None:
    """A wrong folder must be refused by name, not by a traceback deep in a library."""
    assert resolve_model(tiny.path, cache_dir=tmp_path).path == str(Path(tiny.path).resolve())
    with pytest.raises(ModelError, match=r"has no config\.json"):
        resolve_model(str(tmp_path), cache_dir=tmp_path)


def test_an_unknown_embedded_model_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="embedded:gemma3-270m, embedded:smollm2-135m"):
        resolve_model("embedded:gpt", cache_dir=tmp_path)


def test_a_hub_model_that_cannot_be_had_says_what_else_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline users are the rule on air-gapped machines: the message must name a way on."""

    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(ModelError, match=r"can't be reached.*not in the cache"):
        resolve_model("nobody/nothing", cache_dir=tmp_path)


def test_a_hub_model_is_pinned_to_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` moves: what was trained on has to be written down as a commit."""

    class Info:
        sha = "0123abc"
        card_data = None

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *args, **kwargs: Info())
    base = resolve_model("org/model", revision="main", cache_dir=tmp_path)
    assert (base.path, base.revision) == ("org/model", "0123abc")


def test_a_folder_with_other_weights_is_another_revision(tmp_path: Path) -> None:
    """Under one name, vectors, gradients and cells of the old weights would be taken for those of the new."""
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    for size in (100, READ_WHOLE, READ_WHOLE + 99):
        weights.write_bytes(bytes(size))
        before = folder_revision(tmp_path)
        for other in ("README.md", "eval_results.json", "notes.txt"):
            (tmp_path / other).write_text(str(size))
        assert folder_revision(tmp_path) == before
        weights.write_bytes(bytes(size - 1) + b"x")
        assert folder_revision(tmp_path) != before
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    base = resolve_model(str(tmp_path), cache_dir=tmp_path)
    trained = {"base_model_name_or_path": str(tmp_path), "revision": base.revision}
    (adapter / "adapter_config.json").write_text(json.dumps(trained))
    check_adapter(adapter, base)
    (tmp_path / "config.json").write_text('{"a": 1}')
    with pytest.raises(ModelError, match="Its files have changed since"):
        check_adapter(adapter, resolve_model(str(tmp_path), cache_dir=tmp_path))


def test_an_adapter_of_another_model_or_revision_is_refused(tmp_path: Path, tiny: BaseModel) -> None:
    """Loaded anyway, it would answer nonsense without any error."""
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        check_adapter(tmp_path, tiny)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": "other/model"}), encoding="utf-8")
    with pytest.raises(ModelError, match="was trained on other/model"):
        check_adapter(tmp_path, tiny)
    config.write_text(json.dumps({"base_model_name_or_path": "m", "revision": "a"}), encoding="utf-8")
    with pytest.raises(ModelError, match="revision a"):
        check_adapter(tmp_path, BaseModel("m", "m", "b", ""))
    check_adapter(tmp_path, BaseModel("m", "m", "a", ""))


def test_four_bits_need_a_gpu(tiny: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ModelError, match="load_in_4bit needs a CUDA device"):
        load_base(tiny, load_in_4bit=True)
