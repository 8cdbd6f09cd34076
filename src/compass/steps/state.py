"""What passes between the steps of a flow, in this order: RunData, Placed, Selected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compass.data.example import Example
from compass.selection import Selection
from compass.semantic.arrays import FloatArray
from compass.semantic.space import SemanticSpace


@dataclass(frozen=True)
class RunData:
    """The cleaned data of a run."""

    usage: tuple[Example, ...]
    """E: what users ask for."""
    train: tuple[Example, ...]
    """D: the training rows there are."""
    pool: Sequence[Example]
    """A: what can be picked. A large one is in a file (`data/stored_rows.py`): walk through it, or index it."""
    tests: Mapping[str, tuple[Example, ...]]
    """Held-out rows by test name; usage's goes by the target language's tag, where it has responses to test on."""
    passed_over: int = 0
    """Pool rows that the first stage has left out of A."""

    def texts(self) -> Iterator[Example]:
        """Yield usage, training rows and pool, one after the other."""
        yield from self.usage
        yield from self.train
        yield from self.pool


@dataclass(frozen=True)
class Vectors:
    """Encoder vectors of a run's data, (n, d) float32 unit rows in the order of the data.

    Those of a large pool stay on disk: index them, by the block.
    """

    usage: FloatArray
    train: FloatArray
    pool: FloatArray


@dataclass(frozen=True)
class Placed:
    """A run's data in its semantic space: what every strategy starts from."""

    data: RunData
    vectors: Vectors
    space: SemanticSpace


@dataclass(frozen=True)
class Selected(Placed):
    """What selection hands to training, and what the audit needs."""

    selection: Selection
    examples: tuple[Example, ...]
    """The picked rows of the pool, in the order of the selection."""
