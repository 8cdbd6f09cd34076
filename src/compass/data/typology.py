"""How far languages are from each other: the distances of URIEL, read from the package `urielplus`.

URIEL (Littell et al. 2017, ACL E17-2002) describes 7,970 languages by features of grammar, sounds, place and descent;
the files are those of URIEL+ (Khan et al. 2025, COLING main.463; CC BY-SA 4.0), its distance is used: the angle between
two languages' features that are known of both, 2 arccos(cosine) / pi, from 0 to 1. Only the files are read: importing
the package would configure the program's logging, and its class unpickles and copies files into the installation.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from compass.data.languages import UNDETERMINED, normalize_tag, to_flores, to_iso639_3
from compass.errors import LanguageError, MissingExtraError

FloatArray = npt.NDArray[np.float32]

_CATEGORIES: Mapping[str, tuple[str, str]] = {
    "genetic": ("family_features", ""),
    "geographic": ("geocoord_features", ""),
    "syntactic": ("features", "S_"),
    "phonological": ("features", "P_"),
    "inventory": ("features", "INV_"),
    "featural": ("features", ""),
}
"""Category -> file and the prefix of its features."""
UNKNOWN = -1.0
"""What the files write for a feature that nobody has described."""
ALL_ZERO = 1e-10
"""A language with none of the shared features is compared as if it had this much of each, as in URIEL+."""


def uriel_distances(target: str, languages: Collection[str]) -> dict[str, dict[str, float]]:
    """Return the distances from the target to each language by category; what URIEL doesn't know is left out.

    Categories: genetic, geographic, syntactic, phonological, inventory, featural. Tags are BCP-47; a region makes no
    difference. Raises MissingExtraError without the package urielplus, LanguageError for what is no tag.
    """
    codes = {language: uriel_code(language) for language in {target, *languages}}
    known = {code for code in codes.values() if code}
    found: dict[str, dict[str, float]] = {language: {} for language in languages}
    if not codes[target]:
        return found
    for category, (file, prefix) in _CATEGORIES.items():
        features = _features(file, prefix, known)
        for language in languages:
            distance = angle(features.get(codes[target]), features.get(codes[language]))
            if distance is not None:
                found[language][category] = distance
    return found


def relatives(target: str, languages: Collection[str]) -> frozenset[str]:
    """Return those languages that share a family or branch with the target in Glottolog, itself included.

    Raises as `uriel_distances`. A language that URIEL doesn't know has no relatives.
    """
    codes = {language: uriel_code(language) for language in {target, *languages}}
    features = _features("family_features", "", {code for code in codes.values() if code})
    own = features.get(codes[target])
    if own is None:
        return frozenset()
    return frozenset(
        language
        for language in languages
        if (other := features.get(codes[language])) is not None and bool(((own > 0) & (other > 0)).any())
    )


def uriel_code(tag: str) -> str:
    """Return URIEL's code of a language, empty if it knows none: ISO 639-3, for a macrolanguage FLORES-200's member.

    Raises LanguageError for what is no tag.
    """
    normal = normalize_tag(tag)
    if normal == UNDETERMINED:
        return ""
    try:
        candidates = (to_flores(normal).split("_")[0], to_iso639_3(normal))
    except LanguageError:
        # Some tags have no ISO 639-3 code at all.
        return ""
    return next((code for code in candidates if code in _codes()), "")


def angle(one: FloatArray | None, other: FloatArray | None) -> float | None:
    """Return the distance of two feature vectors over what is known of both, None if that is nothing. (f,) each."""
    if one is None or other is None:
        return None
    shared = (one != UNKNOWN) & (other != UNKNOWN)
    if not shared.any():
        return None
    u, v = (vector[shared].astype(np.float64) for vector in (one, other))
    u, v = (vector if vector.any() else np.full(len(vector), ALL_ZERO) for vector in (u, v))
    cosine = float(u @ v) / float(np.linalg.norm(u) * np.linalg.norm(v))
    return float(2.0 * np.arccos(np.clip(cosine, -1.0, 1.0)) / np.pi)


def _features(file: str, prefix: str, codes: Collection[str]) -> dict[str, FloatArray]:
    """Return (f,) features of each code: over its sources the largest value known, for places the mean as in URIEL+."""
    with np.load(_folder() / f"{file}.npz", allow_pickle=False) as arrays:
        wanted = np.char.startswith(arrays["feats"], prefix)
        rows = {code: i for i, code in enumerate(arrays["langs"].tolist()) if code in codes}
        values = arrays["data"][list(rows.values())][:, wanted].astype(np.float32)
    known = values != UNKNOWN
    if file == "geocoord_features":
        sums = np.where(known, values, 0).sum(axis=2)
        joined = np.where(known.any(axis=2), sums / np.maximum(known.sum(axis=2), 1), UNKNOWN)
    else:
        joined = values.max(axis=2)
    return dict(zip(rows, joined, strict=True))


@lru_cache(maxsize=1)
def _codes() -> frozenset[str]:
    with np.load(_folder() / "features.npz", allow_pickle=False) as arrays:
        return frozenset(arrays["langs"].tolist())


def _folder() -> Path:
    spec = importlib.util.find_spec("urielplus")
    if spec is None or spec.origin is None:
        raise MissingExtraError("urielplus", "uriel", "Distances between languages")
    return Path(spec.origin).parent / "database" / "original_uriel"
