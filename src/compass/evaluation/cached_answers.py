"""A model some of whose answers are known from an earlier evaluation: it is asked for the others alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np

from compass.data.example import Example, Message, on_one_line
from compass.evaluation.evaluate import TextModel
from compass.evaluation.files import PREDICTIONS, read_evaluation
from compass.evaluation.metrics import FloatArray64

logger = logging.getLogger(__name__)

_Key: TypeAlias = tuple[tuple[Message, ...], str, str, bool]


class CachedAnswers:
    """A `TextModel` that is loaded only if a row is asked for which `folder` holds no answer.

    folder: what `write_evaluation` left of the same model, with the same `max_new_tokens`.
    """

    def __init__(self, folder: Path, load: Callable[[], TextModel]) -> None:
        self._load = load
        self._answers: dict[_Key, tuple[str, float, float]] = {}
        for path in sorted(folder.glob(f"*{PREDICTIONS}")):
            found = read_evaluation(path.with_name(path.name.removesuffix(PREDICTIONS) + ".json"))
            rows = zip(found.predictions, found.nats.tolist(), found.n_bytes.tolist(), strict=True)
            self._answers |= dict(zip(_keys(found.examples), rows, strict=True))

    @cached_property
    def _model(self) -> TextModel:
        return self._load()

    def generate(self, examples: Sequence[Example], *, max_new_tokens: int, batch_size: int) -> list[str]:
        """Return one greedy answer for each example, in their order."""
        keys = _keys(examples)
        asked = self._unknown(keys)
        logger.info("%d of %d answers are known from before", len(keys) - len(asked), len(keys))
        fresh: list[str] = []
        if asked:
            rows = [examples[i] for i in asked]
            fresh = self._model.generate(rows, max_new_tokens=max_new_tokens, batch_size=batch_size)
        new = dict(zip(asked, fresh, strict=True))
        return [new[i] if i in new else self._answers[key][0] for i, key in enumerate(keys)]

    def loss(self, examples: Sequence[Example]) -> tuple[FloatArray64, FloatArray64]:
        """Return nats (n,) and UTF-8 bytes (n,) of each example's response given its prompt."""
        keys = _keys(examples)
        asked = self._unknown(keys)
        known = [self._answers.get(key, ("", 0.0, 0.0)) for key in keys]
        nats, n_bytes = np.array([row[1] for row in known]), np.array([row[2] for row in known])
        if asked:
            nats[asked], n_bytes[asked] = self._model.loss([examples[i] for i in asked])
        return nats, n_bytes

    def _unknown(self, keys: Sequence[_Key]) -> list[int]:
        unknown = [i for i, key in enumerate(keys) if key not in self._answers]
        # Asked without their longer neighbours, one-line rows would be decoded up to a line break alone.
        one_line = all(key[-1] for key in keys)
        return unknown if one_line or not unknown else list(range(len(keys)))


def _keys(examples: Sequence[Example]) -> list[_Key]:
    """Return what an answer depends on; where no response of a test has a line break, decoding ends at one."""
    one_line = on_one_line(examples)
    return [(row.context, row.prompt, row.response, one_line) for row in examples]
