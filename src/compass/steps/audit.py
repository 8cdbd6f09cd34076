"""The picks and their audit in files that people and the report can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compass.data.classes import class_name
from compass.data.example import Example
from compass.data.stored_rows import column
from compass.found_budget import FoundBudget
from compass.records import ClassScore, Cluster, Picked
from compass.runs import layout
from compass.runs.files import read_json, write_json, write_jsonl, write_parquet
from compass.runs.folder import Run
from compass.selection import Candidates, ClassAccount, Selection
from compass.selection.audit import finish
from compass.semantic.arrays import FloatArray, IntArray
from compass.semantic.distributions import histogram, shares
from compass.semantic.gap import gap
from compass.semantic.projection import project
from compass.steps.state import RunData

MAP_ROWS = 1200
"""Rows of each set on the map: enough to see its shape, few enough to project in seconds."""


def write_selection(
    run: Run,
    selection: Selection,
    candidates: Candidates,
    data: RunData,
    *,
    seed: int,
    found: FoundBudget | None = None,
) -> None:
    """Write the picked rows, the audit of each pick, the account of each cluster and class, and the map.

    found: where the budget comes from, if it was not given.
    """
    picked = [data.pool[i] for i in selection.indices]
    audit = [
        Picked(row.id, row.language, row.source, int(cluster), float(score), rank, reason)
        for rank, (row, cluster, score, reason) in enumerate(
            zip(picked, selection.clusters, selection.scores, selection.reasons, strict=True), start=1
        )
    ]
    write_jsonl(run.path(layout.PICKS), (_pick(row, entry) for row, entry in zip(picked, audit, strict=True)))
    write_parquet(run.path(layout.AUDIT), _audit_table(audit))
    clusters = _clusters(run, selection, candidates)
    write_parquet(run.path(layout.CLUSTERS), [cluster.to_dict() for cluster in clusters])
    run.path(layout.CLASSES).unlink(missing_ok=True)
    if selection.classes is not None:
        classes = _classes(selection.classes, candidates, data)
        write_parquet(run.path(layout.CLASSES), [score.to_dict() for score in classes])
    run.path(layout.HOW_MANY).unlink(missing_ok=True)
    if found is not None:
        write_json(run.path(layout.HOW_MANY), found.to_dict())
    summary = {
        "strategy": selection.strategy,
        "budget": selection.budget,
        "budget_unit": selection.budget_unit,
        "spent": selection.spent,
        "picked": len(picked),
        "shortfall": selection.shortfall,
        "gap_clusters": sum(cluster.gap > 0 for cluster in clusters),
        "gap_clusters_with_supply": sum(cluster.gap > 0 and cluster.supply > 0 for cluster in clusters),
        "gap_clusters_filled": sum(cluster.gap > 0 and cluster.picked > 0 for cluster in clusters),
        "notes": dict(selection.notes),
    }
    write_json(run.path(layout.SELECTION_SUMMARY), summary)
    write_parquet(run.path(layout.MAP), _map(selection, candidates, data, seed))


def read_picks(run: Run, selection: Selection, candidates: Candidates, data: RunData) -> Selection:
    """Return a selection with the picks that the run folder holds in place of its own, of the same candidates."""
    import pyarrow.parquet as pq

    places = {name: i for i, name in enumerate(column(data.pool, "id"))}
    audit = pq.read_table(run.folder / layout.AUDIT).to_pylist()
    return finish(
        selection.strategy,
        candidates,
        selection.budget,
        indices=np.array([places[row["id"]] for row in audit], dtype=np.int64),
        scores=np.array([row["score"] for row in audit], dtype=np.float64),
        reasons=[row["reason"] for row in audit],
        demand=selection.demand,
        notes=read_json(run.folder / layout.SELECTION_SUMMARY, dict).get("notes", {}),
        classes=selection.classes,
    )


def _pick(row: Example, entry: Picked) -> dict[str, Any]:
    return row.to_dict() | {
        "cluster": entry.cluster, "score": entry.score, "rank": entry.rank, "reason": entry.reason
    }  # fmt: skip


def _audit_table(audit: Sequence[Picked]) -> Any:
    import pyarrow as pa

    schema = pa.schema(
        [("id", pa.string()), ("language", pa.string()), ("source", pa.string()), ("cluster", pa.int64()),
         ("score", pa.float64()), ("rank", pa.int64()), ("reason", pa.string())]
    )  # fmt: skip
    return pa.Table.from_pylist([entry.to_dict() for entry in audit], schema=schema)


def _clusters(run: Run, selection: Selection, candidates: Candidates) -> list[Cluster]:
    """Return the account of each cluster, by its number."""
    names = {int(entry["cluster"]): str(entry["name"]) for entry in read_json(run.folder / layout.CLUSTER_NAMES, list)}
    usage = histogram(candidates.usage_clusters, candidates.n_clusters)
    train = histogram(candidates.train_clusters, candidates.n_clusters)
    usage_shares, train_shares = shares(usage), shares(train)
    gaps = gap(usage_shares, train_shares)
    return [
        Cluster(
            cluster=k,
            name=names.get(k, f"cluster {k}"),
            usage_count=int(usage[k]),
            current_count=int(train[k]),
            usage_share=float(usage_shares[k]),
            current_share=float(train_shares[k]),
            gap=float(gaps[k]),
            demand=float(selection.demand[k]),
            supply=int(selection.supply[k]),
            picked=int(selection.picked[k]),
            unmet=float(selection.unmet[k]),
        )
        for k in range(candidates.n_clusters)
    ]


def _classes(account: ClassAccount, candidates: Candidates, data: RunData) -> list[ClassScore]:
    """Return the account of each class that usage asks for or the training data has, the most expected first."""
    parts = [part for part in (candidates.train_classes, candidates.pool_classes) if part is not None]
    classes, first = np.unique(np.concatenate(parts), return_index=True)
    n = len(data.train)
    places = zip(classes.tolist(), first.tolist(), strict=True)
    rows = ((number, data.train[i] if i < n else data.pool[i - n]) for number, i in places)
    names = {number: class_name(row.response) for number, row in rows} | {-1: "free text"}
    order = np.argsort(-account.expected, kind="stable")
    order = order[(account.expected[order] > 0) | (account.train[order] > 0) | (account.picked[order] > 0)]
    train_shares = shares(account.train.astype(np.float64))
    gaps = gap(account.expected, train_shares)
    return [
        ClassScore(
            name=names[int(account.classes[i])],
            usage_share=float(account.expected[i]),
            current_share=float(train_shares[i]),
            current_count=int(account.train[i]),
            gap=float(gaps[i]),
            supply=int(account.supply[i]),
            quota=int(account.quotas[i]),
            picked=int(account.picked[i]),
        )
        for i in order.tolist()
    ]


def _sample(rng: np.random.Generator, n: int) -> IntArray:
    """Return the places of all rows, or of a sample where there are more than the map has room for."""
    return np.arange(n) if n <= MAP_ROWS else np.sort(rng.permutation(n)[:MAP_ROWS])


def _map(selection: Selection, candidates: Candidates, data: RunData, seed: int) -> Any:
    """Project usage, training rows, picks and pool to two dimensions, at most MAP_ROWS rows of each."""
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    picked = np.asarray(selection.indices[:MAP_ROWS], dtype=np.int64)
    rest = np.setdiff1d(np.arange(len(data.pool)), selection.indices)
    rest = np.sort(rng.permutation(rest)[:MAP_ROWS])
    usage, train = (_sample(rng, len(rows)) for rows in (data.usage, data.train))
    parts: list[tuple[str, FloatArray, Any, list[Example]]] = [
        ("usage", candidates.usage[usage], candidates.usage_clusters[usage], [data.usage[i] for i in usage]),
        ("current", candidates.train[train], candidates.train_clusters[train], [data.train[i] for i in train]),
        ("pool", candidates.pool[rest], candidates.pool_clusters[rest], [data.pool[i] for i in rest]),
        ("picked", candidates.pool[picked], candidates.pool_clusters[picked], [data.pool[i] for i in picked]),
    ]
    vectors = np.concatenate([part[1] for part in parts])
    points = project(vectors, seed=seed)
    rows = [row for part in parts for row in part[3]]
    columns = {
        "x": points[:, 0].round(3).tolist(),
        "y": points[:, 1].round(3).tolist(),
        "set": [part[0] for part in parts for _ in part[3]],
        "language": [row.language for row in rows],
        "cluster": [int(k) for part in parts for k in part[2]],
        "text": [row.prompt[:200] for row in rows],
    }
    return pa.table(columns)
