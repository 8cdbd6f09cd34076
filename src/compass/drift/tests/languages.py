"""Has the mix of languages changed? The histogram test over languages; those that the reference lacks count as one."""

from __future__ import annotations

from dataclasses import dataclass

from compass.drift.catalogue import register
from compass.drift.tests.histogram import HistogramTest


@register
@dataclass(eq=False)
class LanguagesTest(HistogramTest):
    """Compare the languages of each window of all prompts with the languages of the reference."""

    share: float = 0.1
    name = "languages"
    scope = "mix"

    def describe(self, value: float) -> str:
        """Return a divergence in words."""
        return f"divergence of languages {value:.3f} bits"
