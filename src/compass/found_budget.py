"""The budget that `--budget auto` found, with the curve that it was read from, as a run folder keeps it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FoundBudget:
    """A budget, and the curve that it was read from."""

    budget: int
    """In units of the budget; 0 where no pick adds more than a random row."""
    rows: int
    """Picks that it buys."""
    largest: int
    """The largest budget that was looked at."""
    unit: str
    """Unit of the budget: `examples` or `tokens`."""
    at_random: float
    """What a unit of the budget adds to what is served for a row drawn at random, while nothing is picked."""
    spent: tuple[float, ...]
    """Units of the budget, ascending from 0."""
    covered: tuple[float, ...]
    """Share of usage that training data and picks serve there."""

    @property
    def place(self) -> int:
        """Point of the curve at which the budget lies."""
        return bisect_left(self.spent, self.budget)

    @property
    def drawn(self) -> tuple[float, ...]:
        """Share of usage that as many rows at random would serve at each point, if all added as much as the first."""
        return tuple(min(self.covered[0] + self.at_random * spent, 1.0) for spent in self.spent)

    def summary(self) -> str:
        """Say in plain words how many and why there."""
        beyond = "" if self.place == len(self.spent) - 1 else ", and beyond it less"
        return (
            f"{self.budget:,} {self.unit} ({self.rows:,} rows): up to there a further pick adds more to usage than a "
            f"random row{beyond}. Training data alone serves {100 * self.covered[0]:.0f} % of usage, with these picks "
            f"it is {100 * self.covered[self.place]:.0f} %"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `selection/how_many.json`, its curve rounded."""
        return asdict(self) | {
            "spent": [round(value, 6) for value in self.spent],
            "covered": [round(value, 6) for value in self.covered],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FoundBudget:
        """Read back what `to_dict` returned."""
        return cls(
            budget=int(content["budget"]),
            rows=int(content["rows"]),
            largest=int(content["largest"]),
            unit=str(content["unit"]),
            at_random=float(content["at_random"]),
            spent=tuple(map(float, content["spent"])),
            covered=tuple(map(float, content["covered"])),
        )
