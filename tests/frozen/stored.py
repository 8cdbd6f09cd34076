"""The stored values: JSON, a file for each subject, a line for each case; how they are read, written and compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "values"
TOLERANCE = 1e-9
"""Largest difference of two floats where products end in the same bits as where the values were made. Whatever is no
float has to be equal, everywhere."""
TOLERANCE_ELSEWHERE = 1e-6
"""The same on other processors: cosines are float32, and their last bits depend on the instructions that multiply."""
SHORTEST_RUN = 4
"""Equal numbers in a row from which a list of one number is stored as a count."""


@cache
def read(name: str) -> Mapping[str, Any]:
    """Return the cases of a file and their values."""
    stored = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return {case: _unpacked(stored[value["as"]] if _is_reference(value) else value) for case, value in stored.items()}


def write(name: str, cases: Mapping[str, Any]) -> None:
    """Write the values of a file's cases; a case that equals an earlier one names it."""
    first: dict[str, str] = {}
    lines = []
    for case, value in cases.items():
        text = _text(_packed(value))
        same = first.setdefault(text, case)
        shown = text if same == case or len(text) < 100 else _text({"as": same})
        lines.append(f"{_text(case)}: {shown}")
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


@cache
def tolerance() -> float:
    """Return how far floats may lie apart on this machine, by the bits of a few products."""
    from frozen.cases import FILES

    alike = all(compute() == read("arithmetic")[case] for case, compute in FILES["arithmetic"].items())
    return TOLERANCE if alike else TOLERANCE_ELSEWHERE


def differences(found: Any, frozen: Any, where: str = "") -> list[str]:
    """Say in which places a value is not the stored one; nothing if it is."""
    if isinstance(frozen, dict) and isinstance(found, dict) and found.keys() == frozen.keys():
        return [line for key in frozen for line in differences(found[key], frozen[key], f"{where}.{key}")]
    if isinstance(frozen, list) and isinstance(found, list) and len(found) == len(frozen):
        pairs = enumerate(zip(found, frozen, strict=True))
        return [line for i, (new, old) in pairs for line in differences(new, old, f"{where}[{i}]")]
    if type(found) is type(frozen) is float:
        same = found == frozen or math.isclose(found, frozen, rel_tol=0.0, abs_tol=tolerance())
    else:
        same = type(found) is type(frozen) and found == frozen
    return [] if same else [f"{where.lstrip('.')}: {_short(found)}, frozen: {_short(frozen)}"]


def check(name: str, case: str, found: Any) -> None:
    """Raise AssertionError with the first places where a value differs from the stored one."""
    # Written and read back, so that a tuple is as good as a list.
    lines = differences(json.loads(_text(found)), read(name)[case])
    more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
    assert not lines, f"{name}, {case}: " + "; ".join(lines[:5]) + more


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"as"}


def _packed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _packed(part) for key, part in value.items()}
    if isinstance(value, list):
        if len(value) >= SHORTEST_RUN and type(value[0]) is float and value.count(value[0]) == len(value):
            return {"times": len(value), "of": value[0]}
        return [_packed(part) for part in value]
    return value


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"times", "of"}:
            return [value["of"]] * value["times"]
        return {key: _unpacked(part) for key, part in value.items()}
    return [_unpacked(part) for part in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(value)} in all)" if isinstance(value, list) else text[:80]
