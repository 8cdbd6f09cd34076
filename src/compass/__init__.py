"""COMPASS: adapt an LLM to the languages that its users really speak.

Start with `compass.adapt(compass.load_config(...))`, or read `compass/recipes/adapt.py`, the method from top to bottom.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compass.config import AdaptConfig, load_config
    from compass.data.example import Example
    from compass.data.readers import read_examples
    from compass.encoders import load_encoder
    from compass.errors import CompassError
    from compass.evaluation import evaluate
    from compass.recipes.adapt import adapt, select
    from compass.recipes.label import label
    from compass.report import build_report
    from compass.selection import get_strategy
    from compass.semantic import SemanticSpace
    from compass.training import LanguageModel

_HOMES = {
    "AdaptConfig": "compass.config",
    "CompassError": "compass.errors",
    "Example": "compass.data.example",
    "LanguageModel": "compass.training",
    "SemanticSpace": "compass.semantic",
    "adapt": "compass.recipes.adapt",
    "build_report": "compass.report",
    "evaluate": "compass.evaluation",
    "get_strategy": "compass.selection",
    "label": "compass.recipes.label",
    "load_config": "compass.config",
    "load_encoder": "compass.encoders",
    "read_examples": "compass.data.readers",
    "select": "compass.recipes.adapt",
}
"""Public name -> module: resolved at first use, so that `import compass` loads neither torch nor transformers."""

__all__ = [
    "AdaptConfig",
    "CompassError",
    "Example",
    "LanguageModel",
    "SemanticSpace",
    "adapt",
    "build_report",
    "evaluate",
    "get_strategy",
    "label",
    "load_config",
    "load_encoder",
    "read_examples",
    "select",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compass' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
