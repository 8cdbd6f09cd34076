"""The picks and their audit in files that people and the report can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compass.data.classes import class_name
from compass.data.example import Example
from compass.runs import layout
from compass.runs.files import read_json, write_json, write_jsonl, write_parquet
from compass.runs.folder import Run
from compass.selection import AnswerAccount, Candidates, Selection
from compass.semantic.arrays import FloatArray
from compass.semantic.distributions import histogram, shares
from compass.semantic.gap import gap
from compass.steps.state import RunData

MAP_ROWS = 1200
"""Pool rows on the map: enough to see its shape, few enough to project in seconds."""


def write_selection(run: Run, selection: Selection, candidates: Candidates, data: RunData, *, seed: int) -> None:
    """Write the picked rows, the audit of each pick, the account of each cluster and class, and the map."""
    picked = [data.pool[i] for i in selection.indices]
    audit = [
        {"cluster": int(cluster), "score": float(score), "rank": rank, "reason": reason}
        for rank, (cluster, score, reason) in enumerate(
            zip(selection.clusters, selection.scores, selection.reasons, strict=True), start=1
        )
    ]
    write_jsonl(run.path(layout.PICKS), (row.to_dict() | entry for row, entry in zip(picked, audit, strict=True)))
    write_parquet(run.path(layout.AUDIT), _audit_table(picked, audit))
    clusters = _clusters(run, selection, candidates)
    write_parquet(run.path(layout.CLUSTERS), _table(clusters))
    run.path(layout.CLASSES).unlink(missing_ok=True)
    if selection.answers is not None:
        write_parquet(run.path(layout.CLASSES), _table(_classes(selection.answers, candidates, data)))
    summary = {
        "strategy": selection.strategy,
        "budget": selection.budget,
        "budget_unit": selection.budget_unit,
        "spent": selection.spent,
        "picked": len(picked),
        "shortfall": selection.shortfall,
        "gap_clusters": sum(width > 0 for width in clusters["gap"]),
        "gap_clusters_with_supply": _gaps_with(clusters, "supply"),
        "gap_clusters_filled": _gaps_with(clusters, "picked"),
        "notes": dict(selection.notes),
    }
    write_json(run.path(layout.SELECTION_SUMMARY), summary)
    write_parquet(run.path(layout.MAP), _table(_map(selection, candidates, data, seed)))


def _table(columns: dict[str, list[Any]]) -> Any:
    import pyarrow as pa

    return pa.table(columns)


def _audit_table(picked: Sequence[Example], audit: Sequence[dict[str, Any]]) -> Any:
    import pyarrow as pa

    schema = pa.schema(
        [("id", pa.string()), ("language", pa.string()), ("source", pa.string()), ("cluster", pa.int64()),
         ("score", pa.float64()), ("rank", pa.int64()), ("reason", pa.string())]
    )  # fmt: skip
    rows = [
        {"id": row.id, "language": row.language, "source": row.source, **entry}
        for row, entry in zip(picked, audit, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _clusters(run: Run, selection: Selection, candidates: Candidates) -> dict[str, list[Any]]:
    """Return the account of each cluster: what usage needs, what the training data has, what was picked."""
    names = {int(entry["cluster"]): str(entry["name"]) for entry in read_json(run.folder / layout.CLUSTER_NAMES)}
    usage = histogram(candidates.usage_clusters, candidates.n_clusters)
    train = histogram(candidates.current_clusters, candidates.n_clusters)
    return {
        "cluster": list(range(candidates.n_clusters)),
        "name": [names.get(k, f"cluster {k}") for k in range(candidates.n_clusters)],
        "usage_count": usage.tolist(),
        "current_count": train.tolist(),
        "usage_share": shares(usage).tolist(),
        "current_share": shares(train).tolist(),
        "gap": gap(shares(usage), shares(train)).tolist(),
        "demand": selection.demand.tolist(),
        "supply": selection.supply.tolist(),
        "picked": selection.picked.tolist(),
        "unmet": selection.unmet.tolist(),
    }


def _gaps_with(clusters: dict[str, list[Any]], column: str) -> int:
    """Return how many gap clusters have something in a column."""
    return sum(width > 0 and value > 0 for width, value in zip(clusters["gap"], clusters[column], strict=True))


def _classes(account: AnswerAccount, candidates: Candidates, data: RunData) -> dict[str, list[Any]]:
    """Return the account of each class that usage asks for or the training data has, the most expected first."""
    parts = [part for part in (candidates.current_answers, candidates.pool_answers) if part is not None]
    classes, first = np.unique(np.concatenate(parts), return_index=True)
    rows = [*data.train, *data.pool]
    names = {
        number: class_name(rows[row].response) for number, row in zip(classes.tolist(), first.tolist(), strict=True)
    }
    order = np.argsort(-account.expected, kind="stable")
    order = order[(account.expected[order] > 0) | (account.at_hand[order] > 0) | (account.picked[order] > 0)]
    held = shares(account.at_hand.astype(np.float64))
    return {
        "name": [names[number] for number in account.kinds[order].tolist()],
        "usage_share": account.expected[order].tolist(),
        "current_share": held[order].tolist(),
        "current_count": account.at_hand[order].tolist(),
        "gap": gap(account.expected, held)[order].tolist(),
        "supply": account.supply[order].tolist(),
        "quota": account.quotas[order].tolist(),
        "picked": account.picked[order].tolist(),
    }


def _map(selection: Selection, candidates: Candidates, data: RunData, seed: int) -> dict[str, list[Any]]:
    """Project usage, training rows, the picks and a sample of the pool to two dimensions (t-SNE on cosine)."""
    from sklearn.manifold import TSNE

    rng = np.random.default_rng(seed)
    picked = np.asarray(selection.indices[:MAP_ROWS], dtype=np.int64)
    rest = np.setdiff1d(np.arange(len(data.pool)), selection.indices)
    rest = np.sort(rng.permutation(rest)[:MAP_ROWS])
    parts: list[tuple[str, FloatArray, Any, list[Example]]] = [
        ("usage", candidates.usage, candidates.usage_clusters, list(data.usage)),
        ("current", candidates.current, candidates.current_clusters, list(data.train)),
        ("pool", candidates.pool[rest], candidates.pool_clusters[rest], [data.pool[i] for i in rest]),
        ("picked", candidates.pool[picked], candidates.pool_clusters[picked], [data.pool[i] for i in picked]),
    ]
    vectors = np.concatenate([part[1] for part in parts])
    perplexity = min(30.0, max(2.0, (len(vectors) - 1) / 4))
    tsne = TSNE(n_components=2, metric="cosine", init="pca", perplexity=perplexity, random_state=seed)
    points = tsne.fit_transform(vectors) if len(vectors) > 4 else np.zeros((len(vectors), 2))
    rows = [row for part in parts for row in part[3]]
    return {
        "x": points[:, 0].round(3).tolist(),
        "y": points[:, 1].round(3).tolist(),
        "set": [part[0] for part in parts for _ in part[3]],
        "language": [row.language for row in rows],
        "cluster": [int(k) for part in parts for k in part[2]],
        "text": [row.prompt[:200] for row in rows],
    }
