"""Keys of clients, of which only hashes are known, and what each may do.

    app:
      sha256: 9f86d0...        # printf %s "$KEY" | sha256sum
      requests_per_minute: 600
      concurrent: 20

SHA-256 is enough for keys that are drawn at random; a password that a person made up would be guessed from it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from compass.errors import ConfigError

VARIABLE = "COMPASS_SERVE_KEYS"
"""Environment variable with `name=sha256` for each key, separated by commas or spaces."""
_HASH = re.compile(r"[0-9a-f]{64}")
_FIELDS = ("sha256", "requests_per_minute", "concurrent")


@dataclass(frozen=True)
class Key:
    """One client's key. A limit of 0 is none."""

    name: str
    """Stands in metrics and beside what is kept; the key itself stands nowhere."""
    sha256: str
    requests_per_minute: float = 0.0
    concurrent: int = 0


class Keys:
    """The keys that are let in; without any, everybody is."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_hash = {key.sha256: key for key in keys}

    def __len__(self) -> int:
        return len(self._by_hash)

    def find(self, headers: Mapping[str, str]) -> Key | None:
        """Return the key that a request carries as `Authorization: Bearer`; None if it is not known."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        # What is looked up is a hash: how long that takes says nothing of the key.
        return self._by_hash.get(hashlib.sha256(given.strip().encode("utf-8", "replace")).hexdigest())


def read_keys(file: str, environment: Mapping[str, str]) -> Keys:
    """Return the keys of a file and of the environment. Raises ConfigError with every problem; no hash is quoted."""
    problems: list[str] = []
    found: list[Key] = []
    for entry in re.split(r"[,\s]+", environment.get(VARIABLE, "").strip()):
        name, equals, sha256 = entry.partition("=")
        if entry and (not equals or not _HASH.fullmatch(sha256.lower())):
            problems.append(f"{VARIABLE}: write name=SHA256 for each key; the entry of {name[:40]!r} is another")
        elif entry:
            found.append(Key(name, sha256.lower()))
    for name, fields in _entries(file, problems).items():
        found += _key(file, str(name), fields, problems)
    names = [key.name for key in found]
    problems += [f"keys: {name!r} is there twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if problems:
        raise ConfigError(problems)
    return Keys(found)


def _entries(file: str, problems: list[str]) -> Mapping[object, object]:
    if not file:
        return {}
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        problems.append(
            f"keys_file: {file} can't be read ({type(error).__name__}). Write a name with its sha256 for each"
        )
        return {}
    if not isinstance(content, Mapping) or not content:
        problems.append(f"keys_file: {file} has no keys. Write a name with its sha256 for each")
        return {}
    return content


def _key(file: str, name: str, fields: object, problems: list[str]) -> list[Key]:
    if not isinstance(fields, Mapping) or not _HASH.fullmatch(str(fields.get("sha256", "")).lower()):
        problems.append(f"{file}: the key {name!r} needs sha256, 64 hexadecimal digits (printf %s KEY | sha256sum)")
        return []
    unknown = [str(field) for field in fields if field not in _FIELDS]
    rate, concurrent = fields.get("requests_per_minute", 0), fields.get("concurrent", 0)
    if unknown:
        problems.append(f"{file}: the key {name!r} has {', '.join(unknown)}; known are {', '.join(_FIELDS)}")
    for field, value, kinds in (("requests_per_minute", rate, (int, float)), ("concurrent", concurrent, (int,))):
        if isinstance(value, bool) or not isinstance(value, kinds) or value < 0:
            problems.append(f"{file}: {field} of the key {name!r} must be a number from 0 (no limit); got {value!r}")
            return []
    return [Key(name, str(fields["sha256"]).lower(), float(rate), int(concurrent))]
