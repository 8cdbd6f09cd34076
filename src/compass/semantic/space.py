"""The semantic space: language removal and a partition into clusters, frozen once fitted."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np

from compass.errors import ConfigError, DataError, RunError
from compass.runs import layout
from compass.runs.files import read_json
from compass.semantic.arrays import FloatArray, IntArray, StoredRows, check_vectors, unit_rows
from compass.semantic.blocks import LanguageFree
from compass.semantic.kmeans import GridPoint, assign_nearest, choose_n_clusters, spherical_kmeans
from compass.semantic.offsets import mean_offset, mean_offsets, remove_offsets, within_cluster_offsets

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of the saved form."""
LANGUAGE_REMOVALS = ("within-cluster", "mean", "none")
CLUSTERINGS = ("kmeans", "hdbscan")
HDBSCAN_DIMENSIONS = 24
"""Principal components that HDBSCAN works in: densities mean little in hundreds of dimensions [ours]."""
HDBSCAN_ROWS = 10_000
"""Rows, at most, that HDBSCAN is fitted on; its time grows with the square."""


@dataclass(frozen=True, eq=False)
class SemanticSpace:
    """A fitted space. What was learnt ends in `_`; nothing changes after `fit`, so that usage, data, pool and later
    traffic are all measured in one partition."""

    language_removal: str
    """`within-cluster`, `mean` or `none`."""
    clustering: str
    """`kmeans` or `hdbscan`."""
    seed: int
    centroids_: FloatArray
    """(K, d) unit rows in the language-free space."""
    offsets_: dict[str, FloatArray]
    """Tag -> (d,), what is subtracted of each language; empty without removal."""
    mean_offset_: FloatArray
    """(d,), what is subtracted of a language that was not seen at fit time."""
    grid_: tuple[GridPoint, ...] = ()
    """The numbers of clusters that were tried; empty when K was given."""

    @classmethod
    def fit(
        cls,
        vectors: FloatArray,
        languages: Sequence[str],
        *,
        language_removal: str = "within-cluster",
        clustering: str = "kmeans",
        n_clusters: int = 0,
        seed: int = 0,
    ) -> SemanticSpace:
        """Learn language offsets and clusters from usage, training data and a sample of the pool together.

        vectors: (n, d) unit rows; languages: n tags; n_clusters 0 chooses K (k-means), HDBSCAN finds its own.
        Raises DataError if there is no row, if shapes differ or a value is not finite; ConfigError for an unknown
        choice, or if HDBSCAN finds no cluster.
        """
        if language_removal not in LANGUAGE_REMOVALS:
            raise ConfigError(f"language_removal: {language_removal!r} is none of {', '.join(LANGUAGE_REMOVALS)}.")
        if clustering not in CLUSTERINGS:
            raise ConfigError(f"clustering: {clustering!r} is none of {', '.join(CLUSTERINGS)}.")
        x = _checked(vectors, languages)
        if not len(x):
            raise DataError(
                "The semantic space has no row to be fitted on. Give a usage sample, training data or a pool."
            )
        offsets: dict[str, FloatArray] = {}
        if language_removal == "mean":
            offsets = mean_offsets(x, languages)
        elif language_removal == "within-cluster":
            offsets = within_cluster_offsets(x, languages, seed=seed)
        fallback = mean_offset(offsets) if offsets else np.zeros(x.shape[1], dtype=np.float32)
        free = remove_offsets(x, languages, offsets, fallback)
        grid: tuple[GridPoint, ...] = ()
        if clustering == "hdbscan":
            if n_clusters:
                logger.warning("n_clusters=%d has no effect with clustering=hdbscan, which finds its own.", n_clusters)
            centroids = _hdbscan_centroids(free, seed)
        else:
            if not n_clusters:
                n_clusters, grid = choose_n_clusters(free, seed=seed)
            centroids = spherical_kmeans(free, n_clusters, seed=seed)
        logger.info("semantic space: %d rows, %d languages, %d clusters", len(x), len(offsets), len(centroids))
        return cls(language_removal, clustering, seed, centroids, offsets, fallback, grid)

    @property
    def n_clusters(self) -> int:
        """Number of clusters, K."""
        return len(self.centroids_)

    @property
    def dimensions(self) -> int:
        """Length of the vectors, d."""
        return int(self.centroids_.shape[1])

    def transform(self, vectors: FloatArray | StoredRows, languages: Sequence[str]) -> FloatArray:
        """Remove language from the vectors. vectors: (n, d); languages: n tags. Returns (n, d) unit rows.

        A language that was not seen at fit time falls back as `offsets.offset_of` says. Of stored rows those that are
        asked for are made when they are.
        """
        if not isinstance(vectors, np.ndarray):
            return cast(FloatArray, LanguageFree(vectors, languages, self.offsets_, self.mean_offset_))
        x = _checked(vectors, languages, self.dimensions)
        return remove_offsets(x, languages, self.offsets_, self.mean_offset_)

    def assign(self, vectors: FloatArray, languages: Sequence[str]) -> IntArray:
        """Return the cluster of each row, at fit time and ever after. vectors: (n, d). Returns (n,) ints in [0, K).

        Every row goes to the centroid with the highest cosine; with HDBSCAN too, whose noise rows are thereby counted
        with the cluster that they lie nearest to [ours].
        """
        return self.assign_transformed(self.transform(vectors, languages))

    def assign_transformed(self, vectors: FloatArray | LanguageFree, seed: int | None = None) -> IntArray:
        """Return the cluster of rows that `transform` has already been over. vectors: (n, d). Returns (n,) ints.

        seed: that later draws go by: of stored rows the numbers that these need are found in the same walk.
        """
        if isinstance(vectors, LanguageFree):
            return vectors.nearest(self.centroids_, seed)
        return assign_nearest(check_vectors("vectors", vectors, self.dimensions), self.centroids_)

    def save(self, folder: str | Path) -> None:
        """Write `space.safetensors` and `space.json` into a folder, which is made if need be."""
        from safetensors.numpy import save_file

        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        tags = sorted(self.offsets_)
        tensors = {"centroids": np.ascontiguousarray(self.centroids_), "mean_offset": self.mean_offset_}
        if tags:
            tensors["offsets"] = np.stack([self.offsets_[tag] for tag in tags])
        save_file(tensors, path / layout.SPACE_WEIGHTS_FILE)
        meta = {
            "format": FORMAT,
            "language_removal": self.language_removal,
            "clustering": self.clustering,
            "seed": self.seed,
            "n_clusters": self.n_clusters,
            "dimensions": self.dimensions,
            "languages": tags,
            "grid": [asdict(point) for point in self.grid_],
        }
        (path / layout.SPACE_SETTINGS_FILE).write_text(
            json.dumps(meta, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, folder: str | Path) -> SemanticSpace:
        """Read what `save` wrote; `assign` gives the same labels, bit for bit. Raises RunError if it cannot be read."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = Path(folder)
        try:
            meta = read_json(path / layout.SPACE_SETTINGS_FILE, dict)
            if meta["format"] != FORMAT:
                raise RunError(f"{path}: space of format {meta['format']}, this version reads {FORMAT}. Fit it again.")
            tensors = load_file(path / layout.SPACE_WEIGHTS_FILE)
            tags = [str(tag) for tag in meta["languages"]]
            offsets = dict(zip(tags, tensors["offsets"], strict=True)) if tags else {}
            return cls(
                language_removal=str(meta["language_removal"]),
                clustering=str(meta["clustering"]),
                seed=int(meta["seed"]),
                centroids_=tensors["centroids"],
                offsets_=offsets,
                mean_offset_=tensors["mean_offset"],
                grid_=tuple(GridPoint(**point) for point in meta["grid"]),
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
            raise RunError(
                f"{path}: no semantic space can be read from here ({error}). Fit and save it again."
            ) from error


def _checked(vectors: FloatArray, languages: Sequence[str], dimensions: int | None = None) -> FloatArray:
    x = check_vectors("vectors", vectors, dimensions)
    if len(x) != len(languages):
        raise DataError(
            f"Each vector needs the language of its text: got {len(x)} vectors and {len(languages)} languages."
        )
    return x


def _hdbscan_centroids(vectors: FloatArray, seed: int) -> FloatArray:
    """Return the normalised mean of each HDBSCAN cluster. Raises ConfigError if all rows are noise."""
    from sklearn.cluster import HDBSCAN
    from sklearn.decomposition import PCA

    rows = vectors
    if len(rows) > HDBSCAN_ROWS:
        rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), HDBSCAN_ROWS, replace=False))]
    smallest = max(3, len(rows) // 400)
    if len(rows) < smallest + 1:
        raise ConfigError(
            f"clustering: hdbscan needs more than {smallest} rows, got {len(rows)}. Use clustering=kmeans."
        )
    components = min(HDBSCAN_DIMENSIONS, rows.shape[1], len(rows) - 1)
    reduced = PCA(n_components=components, random_state=seed).fit_transform(rows.astype(np.float64))
    labels = HDBSCAN(min_cluster_size=smallest, cluster_selection_method="leaf", copy=True).fit_predict(reduced)
    noise = float(np.mean(labels < 0))
    logger.info("HDBSCAN: %d clusters, %.0f %% of %d rows are noise", labels.max() + 1, 100 * noise, len(rows))
    if labels.max() < 0:
        raise ConfigError(f"clustering: hdbscan finds no cluster among {len(rows)} rows. Use clustering=kmeans.")
    centroids = unit_rows(np.stack([rows[labels == k].mean(axis=0) for k in range(labels.max() + 1)]))
    used = np.unique(assign_nearest(vectors, centroids))
    return np.ascontiguousarray(centroids[used])
