"""What language removal does to a semantic space, with even and with skewed topic mixes.

    python experiments/language_removal.py --source assist --languages cy ne zh-CN el is hi ga tr th ar en de fr ru
    python experiments/language_removal.py --source sib200.jsonl.gz --languages amh-Ethi cym-Latn eng-Latn ...

A file has one JSON object a line with a prompt, a language, a label and, if its rows are translations of each other,
the same parallel id for the same meaning; the names of these fields are options. Prints a table in Markdown.

even: every language has the same rows or labels. skewed: the case COMPASS is made for; one language at a time keeps
`--skewed-rows` rows, nine tenths of them of two labels, while the others stay as they are; figures are those of this
language's rows, averaged over the languages (the two columns of NMI are of all rows).

own label's cluster: rows whose cluster's most frequent label among other languages' rows is their own. 10 nearest: of
the nearest rows of other languages, translations left out, those with the row's label. translations found: of a row's n
translations, those among its n nearest rows of other languages.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from compass.config import AdaptConfig
from compass.data.assist import assist_sentences
from compass.encoders import load_encoder
from compass.semantic import FloatArray, IntArray, SemanticSpace

REMOVALS = ("none", "mean", "within-cluster")
NEIGHBOURS = 10


@dataclass(frozen=True)
class Rows:
    texts: list[str]
    languages: list[str]
    labels: IntArray
    parallel: IntArray | None
    """Which rows mean the same, where that is known."""


def read(options: argparse.Namespace) -> Rows:
    """Read the rows of the wanted languages; of a parallel file the same meanings in every language."""
    if options.source == "assist":
        examples = [e for tag in options.languages for e in assist_sentences(tag, per_intent=options.per_label)]
        labels = np.unique([e.label for e in examples], return_inverse=True)[1]
        return Rows([e.prompt for e in examples], [e.language for e in examples], labels.astype(np.int64), None)
    path = Path(options.source)
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    records = [r for r in records if r[options.language_field] in options.languages]
    meanings = sorted({r[options.parallel_field] for r in records})
    chosen = set(np.random.default_rng(0).permutation(meanings)[: options.meanings].tolist())
    records = [r for r in records if r[options.parallel_field] in chosen]
    labels = np.unique([r[options.label_field] for r in records], return_inverse=True)[1]
    return Rows(
        [r["prompt"] for r in records],
        [r[options.language_field] for r in records],
        labels.astype(np.int64),
        np.array([r[options.parallel_field] for r in records], dtype=np.int64),
    )


def figures(rows: Rows, vectors: FloatArray, keep: IntArray, asked: IntArray, options: Any) -> dict[str, list[float]]:
    """Fit a space with each removal on the rows `keep` and measure it on the rows `asked`, a subset of them."""
    languages = np.array(rows.languages)
    found: dict[str, list[float]] = {}
    for removal in REMOVALS:
        space = SemanticSpace.fit(
            vectors[keep],
            languages[keep].tolist(),
            language_removal=removal,
            n_clusters=options.clusters,
            seed=options.seed,
        )
        free = space.transform(vectors[keep], languages[keep].tolist())
        clusters = space.assign_transformed(free)
        place = np.searchsorted(keep, asked)
        similarity = free[place] @ free.T
        similarity[languages[asked][:, None] == languages[keep][None, :]] = -np.inf
        top = np.nan
        if rows.parallel is not None:
            # Translations are measured by themselves and then taken out: they share a row's label by construction.
            translated = rows.parallel[keep][None, :] == rows.parallel[asked][:, None]
            translated &= languages[asked][:, None] != languages[keep][None, :]
            order = np.argsort(-similarity, axis=1)[:, : int(translated.sum(axis=1).max())]
            found_again = np.take_along_axis(translated, order, axis=1).sum(axis=1)
            top = float((found_again / np.maximum(translated.sum(axis=1), 1)).mean())
            similarity[translated] = -np.inf
        nearest = keep[np.argsort(-similarity, axis=1)[:, :NEIGHBOURS]]
        same = (rows.labels[nearest] == rows.labels[asked][:, None]).mean()
        # A row is well placed if its cluster's most frequent label among the other languages' rows is its own.
        others = ~np.isin(languages[keep], np.unique(languages[asked]))
        if not others.any():
            others[:] = True
        table = np.zeros((space.n_clusters, rows.labels.max() + 1))
        np.add.at(table, (clusters[others], rows.labels[keep][others]), 1)
        majority = table.argmax(axis=1)
        found[removal] = [
            float(normalized_mutual_info_score(languages[keep], clusters)),
            float(normalized_mutual_info_score(rows.labels[keep], clusters)),
            float((majority[clusters[place]] == rows.labels[asked]).mean()),
            float(same),
            float(top),
        ]
    return found


def skew(rows: Rows, language: str, size: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Keep `size` rows of one language, nine tenths of two labels, and all of the others. Returns (keep, asked)."""
    languages = np.array(rows.languages)
    own = np.flatnonzero(languages == language)
    counts = np.bincount(rows.labels[own])
    frequent = np.flatnonzero(counts >= max(2, np.median(counts[counts > 0])))
    topics = rng.choice(frequent, 2, replace=False)
    inside = own[np.isin(rows.labels[own], topics)]
    outside = own[~np.isin(rows.labels[own], topics)]
    n_inside = min(len(inside), round(size * 0.9))
    n_outside = min(len(outside), max(1, round(n_inside / 9)))
    asked = np.sort(np.concatenate([rng.permutation(inside)[:n_inside], rng.permutation(outside)[:n_outside]]))
    return np.sort(np.concatenate([np.flatnonzero(languages != language), asked])), asked


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both settings and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="assist", help="`assist` or a .jsonl[.gz] file")
    parser.add_argument("--languages", nargs="+", required=True)
    parser.add_argument("--language-field", default="lang")
    parser.add_argument("--label-field", default="topic")
    parser.add_argument("--parallel-field", default="parallel_id")
    parser.add_argument("--meanings", type=int, default=400, help="meanings of a parallel file that are kept")
    parser.add_argument("--per-label", type=int, default=25, help="sentences of an intent of assist")
    parser.add_argument("--skewed-rows", type=int, default=60)
    parser.add_argument("--clusters", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "compass")
    options = parser.parse_args(arguments)

    rows = read(options)
    vectors = load_encoder(AdaptConfig().encoder, options.cache).encode(rows.texts)
    collected: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    everything = np.arange(len(rows.texts))
    for seed in range(options.seeds):
        options.seed = seed
        rng = np.random.default_rng(seed)
        for removal, values in figures(rows, vectors, everything, everything, options).items():
            collected["even", removal].append(values)
        for language in options.languages:
            keep, asked = skew(rows, language, options.skewed_rows, rng)
            for removal, values in figures(rows, vectors, keep, asked, options).items():
                collected["skewed", removal].append(values)
    print(
        f"{len(rows.texts)} rows, {len(options.languages)} languages, K = {options.clusters}, {options.seeds} seeds\n"
    )
    print(
        "| mixes | removal | NMI language | NMI label | own label's cluster "
        "| 10 nearest, own label | translations found |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (mixes, removal), values in collected.items():
        mean = np.mean(values, axis=0)
        print(f"| {mixes} | {removal} | " + " | ".join("" if np.isnan(v) else f"{v:.3f}" for v in mean) + " |")


if __name__ == "__main__":
    main()
