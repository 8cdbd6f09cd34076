"""How well training on one language served another: what a comparison of `only-XX` strategies says, for `langrank`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from compass.data.example import Example
from compass.data.readers import read_jsonl
from compass.errors import MissingExtraError
from compass.records import CellResult
from compass.runs import layout
from compass.selection.strategies.one_language import PREFIX as ONE_LANGUAGE
from compass.selection.strategies.one_language import is_in
from compass.steps.features import prompts, transfer_result, write_transfer_results

logger = logging.getLogger(__name__)


def write_transfers(path: Path, draws: Mapping[tuple[str, int], Path], cells: Sequence[CellResult]) -> None:
    """Write how well each language alone served each target, if that was measured.

    The scores of a target are means over the budgets and seeds that all of its languages were trained for.
    """
    found: dict[str, dict[str, dict[tuple[int, int], float]]] = {}
    for cell in cells:
        if cell.strategy.startswith(ONE_LANGUAGE):
            source = cell.strategy.removeprefix(ONE_LANGUAGE)
            own = found.setdefault(cell.language, {}).setdefault(source, {})
            own[cell.seed, cell.budget] = cell.exact
    scores: dict[tuple[str, str], list[float]] = {}
    for target, sources in found.items():
        shared = set.intersection(*map(set, sources.values()))
        if not shared:
            logger.warning("No transfer results for %s: no budget and seed has all of its languages", target)
        scores |= {
            (target, source): [own[place] for place in sorted(shared)] for source, own in sources.items() if shared
        }
    if not scores:
        return
    texts: dict[str, tuple[list[str], list[Example]]] = {}
    for (target, _seed), folder in draws.items():
        if target not in texts:
            usage, train, pool = (read_jsonl(folder / name) for name in (layout.USAGE, layout.TRAIN, layout.POOL))
            texts[target] = prompts([*usage, *train]), pool
    try:
        results = [
            transfer_result(
                target, source, float(np.mean(values)), target_texts=texts[target][0],
                source_texts=prompts(row for row in texts[target][1] if is_in(row.language, source)),
            )
            for (target, source), values in sorted(scores.items())
        ]  # fmt: skip
    except MissingExtraError as error:
        logger.warning("%s is not written, all else is: %s", path.name, error)
        return
    write_transfer_results(path, results)
