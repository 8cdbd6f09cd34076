"""What the adapter was made for: the frozen space, and how the reference usage lies in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from compass.errors import DataError, MonitorError
from compass.runs import layout
from compass.runs.files import write_bytes
from compass.semantic.arrays import FloatArray, IntArray, RealArray, row_chunks
from compass.semantic.distributions import histogram
from compass.semantic.space import SemanticSpace

FORMAT = 1
"""Version of the saved form."""
FEWEST_ROWS = 30
"""Reference rows below which a language is counted in the mix of languages alone [ours]."""
CHUNK_ROWS = 1024
"""Vectors that are placed at once: 1.5 MB at 384 dimensions."""
MOST_VECTORS = 500
"""Reference vectors of a language that are kept for the test on vectors."""


@dataclass(frozen=True, eq=False)
class LanguageReference:
    """The reference of one language."""

    counts: IntArray
    """(K,) rows of each cluster."""
    distances: RealArray
    """(m,) 1 - cosine of each row to its centroid, sorted."""
    vectors: FloatArray
    """(v, d) a random choice of the rows in random order, language removed."""
    losses: RealArray
    """Losses of the adapter on reference rows; empty where none are known."""

    @property
    def rows(self) -> int:
        """Reference rows, m."""
        return int(self.counts.sum())


@dataclass(frozen=True, eq=False)
class Reference:
    """Space and reference usage. Does not change; an update of the adapter makes a new one."""

    space: SemanticSpace
    languages: Mapping[str, LanguageReference]
    """By tag; those with at least FEWEST_ROWS rows."""
    mix: Mapping[str, int]
    """Rows of every language of the reference."""

    @classmethod
    def fit(
        cls,
        space: SemanticSpace,
        vectors: FloatArray,
        languages: Sequence[str],
        *,
        losses: Mapping[str, npt.ArrayLike] | None = None,
        seed: int = 0,
    ) -> Reference:
        """Place reference usage in a fitted space. vectors: (n, d) encoder vectors; languages: n tags; losses: by tag.

        Give rows that the space was not fitted on where there are any: fitted rows lie closer to the centroids than
        later ones will, which the novelty test takes for drift. Raises DataError if no language has enough rows.
        """
        free, clusters, distances = place(space, vectors, languages)
        tags = np.asarray(languages, dtype=str)
        rng = np.random.default_rng(seed)
        found, counts = np.unique(tags, return_counts=True)
        mix = {str(tag): int(n) for tag, n in zip(found, counts, strict=True)}
        references = {}
        for tag, n in mix.items():
            if n < FEWEST_ROWS:
                continue
            rows = np.flatnonzero(tags == tag)
            kept = rng.permutation(rows)[:MOST_VECTORS]
            references[tag] = LanguageReference(
                histogram(clusters[rows], space.n_clusters),
                np.sort(distances[rows]),
                free[kept],
                np.asarray((losses or {}).get(tag, ()), dtype=np.float64),
            )
        if not references:
            raise DataError(
                f"A drift reference needs at least {FEWEST_ROWS} rows of a language, got {mix or 'no row'}. Give more "
                "usage: 300 rows or more tell drift from chance much better."
            )
        return cls(space, references, mix)

    @property
    def identity(self) -> str:
        """Hash of everything that a monitor's counts depend on."""
        digest = hashlib.sha256(json.dumps(sorted(self.mix.items())).encode())
        digest.update(np.ascontiguousarray(self.space.centroids_).tobytes())
        for tag in sorted(self.languages):
            digest.update(tag.encode())
            for array in _arrays(self.languages[tag]).values():
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write `reference.safetensors`, and the space beside it, into a folder, which is made if need be.

        The file holds vectors of reference prompts, from which a determined reader can guess at texts: it is as private
        as the usage sample, and only its owner may read it.
        """
        from safetensors.numpy import save

        path = Path(folder)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        tags = sorted(self.languages)
        tensors = {
            f"{number}.{name}": np.ascontiguousarray(array)
            for number, tag in enumerate(tags)
            for name, array in _arrays(self.languages[tag]).items()
        }
        meta = {"format": FORMAT, "languages": tags, "mix": dict(self.mix), "identity": self.identity}
        self.space.save(path / layout.SPACE)
        write_bytes(path / layout.REFERENCE_WEIGHTS_FILE, save(tensors, {"reference": json.dumps(meta)}))

    @classmethod
    def load(cls, folder: str | Path) -> Reference:
        """Read what `save` wrote. Raises MonitorError if it can't be read, RunError if its space can't."""
        from safetensors import SafetensorError, safe_open

        path = Path(folder)
        space = SemanticSpace.load(path / layout.SPACE)
        try:
            with safe_open(path / layout.REFERENCE_WEIGHTS_FILE, framework="numpy") as file:
                meta = json.loads(file.metadata()["reference"])
                if meta["format"] != FORMAT:
                    raise MonitorError(
                        f"{path}: the drift reference has format {meta['format']}; this version reads format {FORMAT}. "
                        "Make it again."
                    )
                read: Callable[[str], npt.NDArray[np.generic]] = file.get_tensor
                languages = {
                    str(tag): LanguageReference(
                        **{name: read(f"{i}.{name}") for name in LanguageReference.__dataclass_fields__}  # type: ignore[arg-type]
                    )
                    for i, tag in enumerate(meta["languages"])
                }
            reference = cls(space, languages, {str(tag): int(n) for tag, n in meta["mix"].items()})
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise MonitorError(f"{path}: this drift reference can't be read ({error}). Make it again.") from error
        if reference.identity != meta["identity"]:
            raise MonitorError(f"{path}: the drift reference was made in another space than this one. Make it again.")
        return reference


def place(
    space: SemanticSpace, vectors: FloatArray, languages: Sequence[str]
) -> tuple[FloatArray, IntArray, RealArray]:
    """Return rows without language (n, d), their clusters (n,) and 1 - cosine to the clusters' centroids (n,).

    Walks the rows in chunks that fit a processor's cache, which takes half the time of whole batches.
    """
    n = len(vectors)
    if n != len(languages):
        raise DataError(f"Each vector needs the language of its text: got {n} vectors and {len(languages)} languages.")
    free = np.empty((n, space.dimensions), dtype=np.float32)
    clusters, distances = np.empty(n, dtype=np.int64), np.empty(n)
    for rows in row_chunks(n, CHUNK_ROWS):
        part = space.transform(vectors[rows], languages[rows])
        free[rows], clusters[rows] = part, space.assign_transformed(part)
        distances[rows] = 1.0 - np.einsum("ij,ij->i", part, space.centroids_[clusters[rows]])
    return free, clusters, distances


def _arrays(reference: LanguageReference) -> dict[str, npt.NDArray[np.generic]]:
    return {
        "counts": reference.counts,
        "distances": reference.distances,
        "vectors": reference.vectors,
        "losses": reference.losses,
    }
