"""How good a space is, in numbers, and what its clusters are about, in words."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from compass.errors import DataError
from compass.semantic.arrays import FloatArray, IntArray, RealArray
from compass.semantic.distributions import histogram
from compass.semantic.kmeans import GridPoint, assign_nearest, spherical_kmeans
from compass.semantic.space import SemanticSpace

READER_LANGUAGE = "en"
"""Language whose rows name a cluster where it has enough of them: names mixed from twenty languages say little."""
READER_ROWS = 3
"""Rows of the reader's language that suffice to name a cluster."""
LANGUAGES_NAMED, TERMS_NAMED = 2, 3
"""Other languages in which a cluster is named, and the terms of each."""
UNSPACED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Scripts written without spaces between words, by the first word of their characters' Unicode names."""
UNSPACED_NGRAM = 2
"""Characters of a term in these scripts."""


@dataclass(frozen=True)
class Diagnostics:
    """What a space's clusters follow. NMI is normalised mutual information, 0 (unrelated) to 1 (the same)."""

    nmi_language_before: float
    """Of language with clusters of the raw vectors, as many as the space has."""
    nmi_language_after: float
    """Of language with the space's clusters; lower is better."""
    nmi_label_before: float | None
    nmi_label: float | None
    """Of label with the space's clusters; higher is better; None without labels."""
    sizes: tuple[int, ...]
    """Rows of each cluster."""
    stability: float | None
    """Adjusted Rand index with clusters of the same rows under another seed; None for HDBSCAN, which has no seed."""
    chosen_k: int
    grid: tuple[GridPoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


@dataclass(frozen=True)
class ClusterName:
    """What a cluster is about."""

    cluster: int
    name: str
    """Its first terms; `cluster N` if it has no row with words."""
    terms: tuple[str, ...]
    """Terms that set it apart, best first."""
    examples: tuple[str, ...]
    """Texts nearest to its centroid, nearest first."""
    other_languages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Terms in the languages that have most of its rows besides the reader's."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def diagnose(
    space: SemanticSpace,
    vectors: FloatArray,
    languages: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    seed: int = 0,
) -> Diagnostics:
    """Measure what the clusters of rows follow: language (bad) or label (good), and how stable they are.

    vectors: (n, d) encoder vectors; languages: n tags; labels: n topics or intents, empty where a row has none.
    Raises DataError if the lengths differ or there is no row.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    if not len(vectors):
        raise DataError("diagnose: there are no rows.")
    if labels is not None and len(labels) != len(vectors):
        raise DataError(f"diagnose: got {len(vectors)} vectors and {len(labels)} labels.")
    free = space.transform(vectors, languages)
    clusters = space.assign_transformed(free)
    raw = assign_nearest(vectors, spherical_kmeans(vectors, space.n_clusters, seed=seed))
    other = None
    if space.clustering == "kmeans":
        other = assign_nearest(free, spherical_kmeans(free, space.n_clusters, seed=space.seed + 1))

    def with_labels(assigned: IntArray) -> float | None:
        rows = [i for i, label in enumerate(labels or ()) if label]
        if not rows or labels is None:
            return None
        return float(normalized_mutual_info_score([labels[i] for i in rows], assigned[rows]))

    return Diagnostics(
        nmi_language_before=float(normalized_mutual_info_score(list(languages), raw)),
        nmi_language_after=float(normalized_mutual_info_score(list(languages), clusters)),
        nmi_label_before=with_labels(raw),
        nmi_label=with_labels(clusters),
        sizes=tuple(histogram(clusters, space.n_clusters).tolist()),
        stability=None if other is None else float(adjusted_rand_score(clusters, other)),
        chosen_k=space.n_clusters,
        grid=space.grid_,
    )


def name_clusters(
    space: SemanticSpace,
    vectors: FloatArray,
    languages: Sequence[str],
    texts: Sequence[str],
    *,
    n_terms: int = 6,
    n_examples: int = 5,
    reader_language: str = READER_LANGUAGE,
) -> list[ClusterName]:
    """Name each cluster by the terms that set it apart and by its most central texts, one entry a cluster.

    Terms are words of any script, or pairs of characters where a script has no spaces, scored by class-based tf-idf:
    tf(term, cluster) · log(1 + mean rows of a cluster / rows with the term) (BERTopic, arXiv 2203.05794). A cluster
    with at least three rows in `reader_language` is named and shown from these rows alone. Raises DataError if the
    lengths differ.
    """
    if not len(vectors) == len(languages) == len(texts):
        raise DataError(
            f"name_clusters: got {len(vectors)} vectors, {len(languages)} languages and {len(texts)} texts."
        )
    free = space.transform(vectors, languages)
    clusters = space.assign_transformed(free)
    members: list[IntArray] = []
    for k in range(space.n_clusters):
        rows = np.flatnonzero(clusters == k)
        reader = np.array([i for i in rows.tolist() if languages[i].split("-")[0] == reader_language], dtype=np.int64)
        members.append(reader if len(reader) >= READER_ROWS else rows)
    counts = [Counter(term for i in rows for term in set(terms_of(texts[i]))) for rows in members]
    scores = _class_tf_idf(counts, [len(rows) for rows in members])
    names = []
    for k, rows in enumerate(members):
        best = tuple(sorted(scores[k], key=lambda term, k=k: (-scores[k][term], term))[:n_terms])  # type: ignore[misc]
        closeness: RealArray = (free[rows] @ space.centroids_[k]).astype(np.float64)
        nearest = list(dict.fromkeys(texts[i] for i in rows[np.argsort(-closeness, kind="stable")]))[:n_examples]
        names.append(ClusterName(k, " · ".join(best[:3]) or f"cluster {k}", best, tuple(nearest)))
    others = _terms_by_language(clusters, languages, texts, space.n_clusters, leave_out=reader_language)
    return [replace(name, other_languages=found) for name, found in zip(names, others, strict=True)]


def _terms_by_language(
    clusters: IntArray, languages: Sequence[str], texts: Sequence[str], k: int, *, leave_out: str
) -> list[dict[str, tuple[str, ...]]]:
    """Return for each cluster the terms of the two languages that have most of its rows, three rows at least."""
    found: list[dict[str, tuple[str, ...]]] = [{} for _ in range(k)]
    spoken = np.array([tag.split("-")[0] for tag in languages], dtype=str)
    sizes = {
        str(tag): np.bincount(clusters[spoken == tag], minlength=k) for tag in np.unique(spoken) if tag != leave_out
    }
    for tag, rows_of in sizes.items():
        counts: list[Counter[str]] = [Counter() for _ in range(k)]
        for row in np.flatnonzero(spoken == tag).tolist():
            counts[clusters[row]].update(set(terms_of(texts[row])))
        for cluster, scores in enumerate(_class_tf_idf(counts, np.maximum(rows_of, 1).tolist())):
            larger = sum(other[cluster] > rows_of[cluster] for other in sizes.values())
            if rows_of[cluster] >= READER_ROWS and larger < LANGUAGES_NAMED:
                best = sorted(scores, key=lambda term, scores=scores: (-scores[term], term))  # type: ignore[misc]
                found[cluster][tag] = tuple(best[:TERMS_NAMED])
    return found


def terms_of(text: str) -> Iterator[str]:
    """Yield the terms of a text: words of letters, marks and digits in lower case, of two characters or more; pairs of
    characters in scripts without spaces; no bare numbers."""
    spaced = "".join(c if _kind(c) == "word" else f" {c} " if _kind(c) == "unspaced" else " " for c in text.casefold())
    yield from (word for word in spaced.split() if len(word) > 1 and not word.isnumeric())
    run = ""
    for c in [*text, " "]:
        if _kind(c) == "unspaced":
            run += c
            continue
        yield from (run[i : i + UNSPACED_NGRAM] for i in range(len(run) - UNSPACED_NGRAM + 1))
        run = ""


@lru_cache(maxsize=65_536)
def _kind(character: str) -> str:
    if unicodedata.category(character)[0] not in "LMN":
        return "other"
    return "unspaced" if unicodedata.name(character, "").startswith(UNSPACED_SCRIPTS) else "word"


def _class_tf_idf(counts: Sequence[Counter[str]], sizes: Sequence[int]) -> list[dict[str, float]]:
    totals: Counter[str] = Counter()
    for count in counts:
        totals.update(count)
    mean_size = sum(sizes) / max(len(sizes), 1)
    return [
        {term: n / size * float(np.log1p(mean_size / totals[term])) for term, n in count.items()}
        for count, size in zip(counts, sizes, strict=True)
    ]
