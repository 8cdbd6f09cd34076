"""Compare JSON with JSON, numbers within a tolerance, and say where they differ."""

from __future__ import annotations

import math
from typing import Any


def differ(found: Any, stored: Any, *, relative: float = 1e-9, absolute: float = 1e-12, at: str = "") -> list[str]:
    """Return a line for each place where two JSON values differ; nan equals nan, and ints equal floats."""
    both = {type(found), type(stored)}
    if isinstance(stored, dict) and isinstance(found, dict):
        lines = [f"{at}/{key}: only {'now' if key in found else 'then'}" for key in found.keys() ^ stored.keys()]
        shared = [key for key in stored if key in found]
        pairs = [(found[key], stored[key], f"{at}/{key}") for key in shared]
    elif isinstance(stored, list) and isinstance(found, list | tuple):
        lines = [f"{at}: {len(found)} entries, {len(stored)} then"] if len(found) != len(stored) else []
        pairs = [(a, b, f"{at}/{i}") for i, (a, b) in enumerate(zip(found, stored, strict=False))]
    elif both <= {int, float}:
        near = math.isclose(found, stored, rel_tol=relative, abs_tol=absolute) or (
            math.isnan(found) and math.isnan(stored)
        )
        return [] if near else [f"{at}: {found!r}, {stored!r} then"]
    else:
        return [] if found == stored and len(both) == 1 else [f"{at}: {found!r}, {stored!r} then"]
    for a, b, where in pairs:
        lines += differ(a, b, relative=relative, absolute=absolute, at=where)
    return lines
