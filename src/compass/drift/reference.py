"""What the adapter was made for: the frozen space, and how the reference usage lies in it."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from compass.config import MonitorConfig
from compass.drift.background import Background, Order
from compass.drift.declustering import affinity_of
from compass.drift.incoming import Repeats, most_repeated
from compass.drift.results import MIX
from compass.drift.traffic import NO_SESSION, SESSIONS, Dependence, Pairing
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
ARRIVAL = "arrival"
"""What the names of its tensors begin with."""
TAIL = 0.05
"""Share of the rows whose distances count as far where it is estimated how these hang together."""
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
class Arrival:
    """The rows of a reference, of all languages, in the order in which they came."""

    languages: IntArray
    """(m,) places in the sorted tags."""
    clusters: IntArray
    """(m,)"""
    distances: RealArray
    """(m,) 1 - cosine to the centroid."""
    sessions: IntArray
    """(m,) numbers of sessions, -1 where unknown."""
    times: RealArray
    """(m,) seconds since 1970, NaN where unknown."""

    @classmethod
    def of(
        cls,
        tags: npt.NDArray[np.str_],
        clusters: IntArray,
        distances: RealArray,
        sessions: Sequence[str] | None,
        times: npt.ArrayLike | None,
        *,
        ordered: bool,
    ) -> tuple[Arrival | None, IntArray]:
        """Sort rows by their times, where all are known; return also which row stands where.

        None if neither times nor sessions are known and the order says nothing.
        """
        n = len(tags)
        when = np.full(n, np.nan) if times is None else np.asarray(times, dtype=np.float64)
        timed = bool(n) and bool(np.isfinite(when).all())
        if not (timed or ordered or any(sessions or ())):
            return None, np.arange(n)
        rows = np.argsort(when, kind="stable") if timed else np.arange(n)
        numbers = np.full(n, NO_SESSION, dtype=np.int64)
        if sessions is not None:
            given = np.asarray([str(session or "") for session in sessions])
            numbers = np.where(given == "", NO_SESSION, np.unique(given, return_inverse=True)[1]).astype(np.int64)
        languages = np.unique(tags, return_inverse=True)[1].astype(np.int64)
        return cls(languages[rows], clusters[rows], distances[rows], numbers[rows], when[rows]), rows

    @property
    def sorted_by_language(self) -> bool:
        """Whether each language stands by itself: the order of languages is then the file's, not that of arrival."""
        changes = np.count_nonzero(np.diff(self.languages))
        return bool(np.isnan(self.times).any() and changes + 1 == len(np.unique(self.languages)) > 1)

    def order(self, language: int | None, cut: float = math.inf) -> Order:
        """Return the rows of one language by cluster, or all by language. cut: distance from which a row is far."""
        rows = slice(None) if language is None else self.languages == language
        categories = self.languages if language is None else self.clusters
        far = (self.distances[rows] >= cut).astype(np.int64)
        return Order(categories[rows], far, self.sessions[rows], self.times[rows])


@dataclass(frozen=True, eq=False)
class Reference:
    """Space and reference usage. Does not change; an update of the adapter makes a new one."""

    space: SemanticSpace
    languages: Mapping[str, LanguageReference]
    """By tag; those with at least FEWEST_ROWS rows."""
    mix: Mapping[str, int]
    """Rows of every language of the reference."""
    most_repeated: Mapping[str, int] = field(default_factory=dict)
    """How often the most frequent prompt of each language comes; empty where the texts were not given."""
    arrival: Arrival | None = None
    """All rows in the order in which they came; None where it is not known, as in references of version 0.1."""

    @classmethod
    def fit(
        cls,
        space: SemanticSpace,
        vectors: FloatArray,
        languages: Sequence[str],
        *,
        losses: Mapping[str, npt.ArrayLike] | None = None,
        seed: int = 0,
        texts: Sequence[str] | None = None,
        sessions: Sequence[str] | None = None,
        times: npt.ArrayLike | None = None,
        ordered: bool = True,
        window: int = MonitorConfig.window,
    ) -> Reference:
        """Place reference usage in a fitted space. vectors: (n, d) encoder vectors; languages: n tags; losses: by tag.

        texts: n prompts, to know how often one of them is repeated, and to count what one session repeats once;
        sessions: n ids of the sessions that the prompts are of, empty where unknown; times: n, seconds since 1970, NaN
        where unknown; ordered: whether the rows stand in the order in which they came, so that dependence can be
        estimated from it: rows with times are sorted by them; window: prompts within which a session's repeats count
        once, as in the monitor's.
        Give rows that the space was not fitted on where there are any: fitted rows lie closer to the centroids than
        later ones will, which the novelty test takes for drift. Raises DataError if no language has enough rows.
        """
        if texts is not None and sessions is not None:
            once = Repeats(window, {}).kept(texts, languages, sessions)
            vectors, times = vectors[once], None if times is None else np.asarray(times)[once]
            languages, texts, sessions = ([column[i] for i in once] for column in (languages, texts, sessions))
        free, clusters, distances = place(space, vectors, languages)
        tags = np.asarray(languages, dtype=str)
        arrival, order = Arrival.of(tags, clusters, distances, sessions, times, ordered=ordered)
        rng = np.random.default_rng(seed)
        found, counts = np.unique(tags, return_counts=True)
        mix = {str(tag): int(n) for tag, n in zip(found, counts, strict=True)}
        references = {}
        for tag, n in mix.items():
            if n < FEWEST_ROWS:
                continue
            rows = np.flatnonzero(tags == tag)
            begin = rows if arrival is None else _beginning(rows, arrival, order, space.n_clusters)
            kept = rng.permutation(begin)[:MOST_VECTORS]
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
        repeats = most_repeated(texts, tags.tolist()) if texts is not None else {}
        return cls(space, references, mix, repeats, arrival)

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
        meta = {
            "format": FORMAT,
            "languages": tags,
            "mix": dict(self.mix),
            "most_repeated": dict(self.most_repeated),
            "identity": self.identity,
        }
        if self.arrival:
            tensors |= {f"{ARRIVAL}.{name}": array for name, array in vars(self.arrival).items()}
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
                names = {name: f"{ARRIVAL}.{name}" for name in Arrival.__dataclass_fields__}
                arrival = None
                if set(names.values()) <= set(file.keys()):
                    arrival = Arrival(**{name: read(key) for name, key in names.items()})  # type: ignore[arg-type]
            # References of version 0.1 do not say what is repeated.
            mix, repeats = (
                {str(tag): int(n) for tag, n in counts.items()}
                for counts in (meta["mix"], meta.get("most_repeated", {}))
            )
            reference = cls(space, languages, mix, repeats, arrival)
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


def background(reference: Reference, stream: str, window: int) -> Background | None:
    """Estimate how the reference rows of a language, or of the mix, hang together; None if their order is not known.

    window: prompts that will be compared with them.
    """
    arrival = reference.arrival
    if arrival is None:
        return None
    seed = zlib.crc32(stream.encode())
    tags = sorted(reference.mix)
    if stream == MIX:
        if arrival.sorted_by_language:
            return None
        return Background.of(arrival.order(None), len(tags) + 1, window, seed=seed)
    cut = float(np.quantile(reference.languages[stream].distances, 1.0 - TAIL))
    order = arrival.order(tags.index(stream), cut)
    rows, space = reference.languages[stream].vectors, reference.space
    affinity = affinity_of(rows.astype(np.float64), space.assign_transformed(rows), space.centroids_.astype(np.float64))
    return Background.of(order, space.n_clusters, window, seed=seed, affinity=affinity)


def _beginning(rows: IntArray, arrival: Arrival, order: IntArray, k: int) -> IntArray:
    """Return rows of one language, sorted; where prompts keep their topic, the first of each session.

    order: the row that stands at each place of the arrival.
    """
    places = np.isin(order, rows)
    clusters = arrival.clusters[places]
    lesser, pairs = Pairing(k, remembered=len(order) + 1).add(clusters, arrival.sessions[places])
    if Dependence.of(pairs, np.bincount(clusters, minlength=k)).persistence < SESSIONS:
        return rows
    return np.sort(order[places][~lesser])


def _arrays(reference: LanguageReference) -> dict[str, npt.NDArray[np.generic]]:
    return {
        "counts": reference.counts,
        "distances": reference.distances,
        "vectors": reference.vectors,
        "losses": reference.losses,
    }
