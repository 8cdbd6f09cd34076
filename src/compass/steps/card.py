"""The model card of an adapter: what it was made from, for what, and how it did."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig
from compass.data.languages import language_name
from compass.records import Difference
from compass.runs import layout
from compass.runs.files import file_hash, write_text
from compass.runs.folder import Run
from compass.sanitize import printable
from compass.selection import Selection
from compass.steps.resources import Resources
from compass.steps.state import RunData, Selected

MOST_CLUSTERS = 12
"""Rows of the card's gap table, widest gaps first."""


FREE_TEXT = (
    "Where answers are free text, loss and likeness come before exact match: `loss_per_byte` in nats per UTF-8 byte of "
    "the expected answer, and the means over rows of `chrf` (sacrebleu's sentence chrF2), `token_f1` and `rouge_l` (of "
    "words; scripts without spaces count characters), all three in [0, 1]."
)

HUB_LICENCES = frozenset(
    {"apache-2.0", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "gemma", "llama2", "llama3",
     "llama3.1", "llama3.2", "llama3.3", "mit", "openrail"}
)  # fmt: skip
"""Identifiers that the hub knows; of all others it takes the name beside `other`."""


def write_card(run: Run, resources: Resources, selected: Selected, differences: Sequence[Difference]) -> None:
    """Write the model card beside the adapter."""
    config, data, selection = resources.config, selected.data, selected.selection
    write_text(run.path(layout.CARD), model_card(config, resources.base, data, selection, differences, run.folder))


def model_card(
    config: AdaptConfig,
    base: Any,
    data: RunData,
    selection: Selection,
    differences: Sequence[Difference],
    run_dir: Path,
) -> str:
    """Return the card as Markdown with the hub's metadata: languages, gap table, data hash, licences, evaluation."""
    from compass.training import adapter_rank

    target = config.data.language
    picked = Counter(data.pool[i].language for i in selection.indices)
    metadata = [
        "---",
        "library_name: peft",
        f"base_model: {json.dumps(base.name)}",
        f"base_model_revision: {json.dumps(base.revision)}",
        "language:",
        # YAML takes a bare `no`, Norwegian, for false.
        *(f"- {json.dumps(tag)}" for tag in dict.fromkeys([target, *sorted(picked)])),
        "tags: [compass, lora, multilingual]",
        *_licence(base.licence),
        "---",
    ]
    sources = Counter(row.source or "not named" for row in (*data.train, *(data.pool[i] for i in selection.indices)))
    training, n = config.training, config.training.averaged_trainings
    rank = adapter_rank(run_dir / layout.ADAPTER)
    kind = "DoRA" if training.use_dora else "rsLoRA" if training.use_rslora else "LoRA"
    lines = [
        *metadata,
        "",
        f"# {language_name(target)} adapter for {_text(base.name)}",
        "",
        f"{kind} adapter, rank {rank}{f' (the average of {n} trainings)' * (n > 1)}, trained by "
        "[COMPASS](https://arxiv.org/abs/2604.20720) on "
        f"{len(data.train)} training rows in {language_name(target)} and {len(selection.indices)} rows that the "
        f"strategy {_code(selection.strategy)} picked from a multilingual pool of {len(data.pool)} rows.",
        "",
        "## Evaluation",
        "",
        *_evaluation_table(differences),
        "",
        "## What usage needed, what the data had, what was picked",
        "",
        *_gap_table(run_dir),
        "",
        f"Picked by language: {', '.join(f'{tag} {n}' for tag, n in picked.most_common()) or 'nothing'}.",
        "",
        "## Data",
        "",
        f"- SHA-256 of the picked rows: `{file_hash(run_dir / layout.PICKS)}`",
        f"- SHA-256 of the training data: `{file_hash(run_dir / layout.TRAIN)}`",
        *(f"- {n} training rows from {_text(name)}" for name, n in sorted(sources.items())),
        "",
        "## Licences",
        "",
        f"- Base model {_text(base.name)} at {_code(base.revision)}: {_text(base.licence or 'see its own card')}",
        "- The training rows keep the licences of their sources.",
        "",
    ]
    return "\n".join(lines)


def _licence(name: str) -> list[str]:
    """Return the licence in the hub's metadata; nothing where it is not known."""
    if not name:
        return []
    known = name.lower() in HUB_LICENCES
    return [f"license: {name.lower()}"] if known else ["license: other", f"license_name: {json.dumps(name)}"]


def _text(text: str) -> str:
    """Return text of others as Markdown that shows it: no HTML, link or column of a table comes of it."""
    plain = html.escape(" ".join(printable(text).split()), quote=False)
    return re.sub(r"([\\`*\[\]|])", r"\\\1", plain)


def _code(text: str) -> str:
    """Return a name of others as Markdown's code where it is an ordinary one, and else as text."""
    return f"`{text}`" if re.fullmatch(r"[\w.:=,/@+-]+", text) else _text(text)


def _evaluation_table(differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return ["Not evaluated: there was no held-out row with a response."]
    table = ["| test | metric | base | adapter | difference (interval) |", "| --- | --- | --- | --- | --- |"]
    table += [
        f"| {_text(d.name)} | {d.metric} | {d.base:.3f} | {d.adapter:.3f} | "
        f"{d.interval.value:+.3f} ({d.interval.low:+.3f} to {d.interval.high:+.3f}) |"
        for d in differences
    ]
    if any(d.metric == "chrf" for d in differences):
        table += ["", FREE_TEXT]
    return table


def _gap_table(run_dir: Path) -> list[str]:
    import pyarrow.parquet as pq

    rows = pq.read_table(run_dir / layout.CLUSTERS).to_pylist()
    rows = sorted((row for row in rows if row["gap"] > 0), key=lambda row: (-row["gap"], row["cluster"]))[
        :MOST_CLUSTERS
    ]
    table = ["| cluster | usage | training data | gap | picked | unmet |", "| --- | --- | --- | --- | --- | --- |"]
    return table + [
        f"| {_text(row['name'])} | {row['usage_share']:.1%} | {row['current_share']:.1%} | {row['gap']:.1%} | "
        f"{row['picked']} | {row['unmet']:.0f} |"
        for row in rows
    ]
