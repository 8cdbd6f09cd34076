"""Tests of finding and checking base models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compass.config import TrainingConfig
from compass.errors import MissingExtraError, ModelError
from compass.training.models import READ_WHOLE, BaseModel, folder_revision, load_base, load_tokenizer, resolve_model
from compass.training.soup import check_trainable


def test_a_folder_is_a_model_only_with_its_configuration(tmp_path: Path, tiny: BaseModel) -> None:
    """A wrong folder must be refused by name, not by a traceback deep in a library."""
    assert resolve_model(tiny.path, cache_dir=tmp_path).path == str(Path(tiny.path).resolve())
    with pytest.raises(ModelError, match=r"has no config\.json"):
        resolve_model(str(tmp_path), cache_dir=tmp_path)


def test_one_folder_is_one_model_however_it_is_spelt(
    tmp_path: Path, tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another spelling finished work would be done again, and an adapter refused on its own model."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(tiny.path)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    for name in ("link", "./link/", "~/link", str(home / ".." / "home" / "link")):
        base = resolve_model(name, cache_dir=tmp_path)
        assert base.path == str(Path(tiny.path).resolve())
        assert base.is_same(tiny.path, base.revision)
        assert base.is_same("/moved/away", base.revision), "the same files are the same model wherever they lie"
        assert not base.is_same(tiny.path, "sha256:other")
    for name in ("~/nothing", "./nothing", "/nothing/here", "a/b/c"):
        with pytest.raises(ModelError, match="There is no folder"):
            resolve_model(name, cache_dir=tmp_path)


def test_what_the_libraries_say_of_a_damaged_model_is_one_message(tmp_path: Path, tiny: BaseModel) -> None:
    for name, content in (("config.json", "{"), ("tokenizer.json", "{"), ("model.safetensors", "cut")):
        folder = tmp_path / name
        shutil.copytree(tiny.path, folder)
        (folder / name).write_text(content, encoding="utf-8")
        base = resolve_model(str(folder), cache_dir=tmp_path)
        with pytest.raises(ModelError, match="can't be loaded"):
            load_tokenizer(base) if name == "tokenizer.json" else load_base(base)


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


def test_four_bits_without_their_package_are_refused(tiny: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be found out after embedding and selection, when the weights are loaded."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config = TrainingConfig(load_in_4bit=True)
    for call in (lambda: load_base(tiny, load_in_4bit=True), lambda: check_trainable(config, tiny)):
        with pytest.raises(MissingExtraError, match=r"pip install 'compass-peft\[4bit\]'"):
            call()
