"""Keys of clients, of which only hashes are known, and what each may do.

    app:
      sha256: 9f86d0...        # printf %s "$KEY" | sha256sum
      requests_per_minute: 600
      concurrent: 20
      dashboard: act           # or view; without it the key does not open the dashboard

SHA-256 is enough for keys that are drawn at random; a password that a person made up would be guessed from it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from compass.config.reading import yaml_problem
from compass.errors import ConfigError

VARIABLE = "COMPASS_SERVE_KEYS"
"""Environment variable with `name=sha256` for each key, or `name=sha256:act`, separated by commas or spaces."""
_HASH = re.compile(r"[0-9a-f]{64}")
VIEW, ACT = "view", "act"
"""What a key may do on the dashboard: look, or also promote, roll back, update and mark."""
_FIELDS = ("sha256", "requests_per_minute", "concurrent", "dashboard")


def hash_of(key: str) -> str:
    """Return what is kept of a key, or of a token that opens as much."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True)
class Key:
    """One client's key. A limit of 0 is none."""

    name: str
    """Stands in metrics and beside what is kept; the key itself stands nowhere."""
    sha256: str
    requests_per_minute: float = 0.0
    concurrent: int = 0
    dashboard: str = ""
    """`view`, `act`, or empty for a key that does not open the dashboard."""


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
        return self.known(given)

    def known(self, given: str) -> Key | None:
        """Return a key by itself; None if it is not known."""
        # What is looked up is a hash: how long that takes says nothing of the key.
        return self._by_hash.get(hash_of(given.strip()))

    @property
    def open_dashboard(self) -> bool:
        """Whether one of them opens the dashboard."""
        return any(key.dashboard for key in self._by_hash.values())


def read_keys(file: str, environment: Mapping[str, str]) -> Keys:
    """Return the keys of a file and of the environment. Raises ConfigError with every problem; no hash is quoted."""
    problems: list[str] = []
    found: list[Key] = []
    for entry in re.split(r"[,\s]+", environment.get(VARIABLE, "").strip()):
        name, equals, rest = entry.partition("=")
        sha256, colon, right = rest.partition(":")
        if entry and (not equals or not _HASH.fullmatch(sha256.lower()) or (colon and right not in (VIEW, ACT))):
            problems.append(
                f"{VARIABLE}: write name=SHA256 for each key, and :{VIEW} or :{ACT} behind one that opens the "
                f"dashboard; the entry of {name[:40]!r} is another"
            )
        elif entry:
            found.append(Key(name, sha256.lower(), dashboard=right))
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
    text = ""
    try:
        text = Path(file).read_text(encoding="utf-8")
        content, root = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        problems.append(f"keys_file: {file} can't be read ({error.strerror}). Check the path")
        return {}
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problems.append(f"keys_file: {file}:{line} is not UTF-8. Save the file as UTF-8")
        return {}
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        line, what = yaml_problem(error, text)
        # What stands in quotes may be of a key.
        what = re.sub(r"'[^']*'|\"[^\"]*\"", "…", what)
        place = f"{file}:{line}" if line else file
        problems.append(f"keys_file: {place} is not valid YAML: {what}. Write a name with its sha256 for each")
        return {}
    if not isinstance(content, Mapping) or not isinstance(root, yaml.MappingNode) or not content:
        problems.append(f"keys_file: {file} has no keys. Write a name with its sha256 for each")
        return {}
    problems += _twice(file, root, "the key")
    for name, fields in root.value:
        if isinstance(fields, yaml.MappingNode):
            problems += _twice(file, fields, f"of the key {name.value!r},")
    return content


def _twice(file: str, mapping: yaml.MappingNode, what: str) -> list[str]:
    """Return a problem for each name that stands several times in a mapping: of these, YAML keeps the last in silence.

    what: what the names are of.
    """
    lines: dict[tuple[str, str], list[int]] = {}
    for name, _value in mapping.value:
        if isinstance(name, yaml.ScalarNode):
            lines.setdefault((name.tag, name.value), []).append(name.start_mark.line + 1)
    return [
        f"{file}: {what} {name!r} is there twice, on lines {' and '.join(map(str, found))}; remove one"
        for (_tag, name), found in lines.items()
        if len(found) > 1
    ]


def _key(file: str, name: str, fields: object, problems: list[str]) -> list[Key]:
    wrong: list[str] = []
    given = fields if isinstance(fields, Mapping) else {}
    sha256 = str(given.get("sha256", "")).lower()
    if not _HASH.fullmatch(sha256):
        wrong.append(f"the key {name!r} needs sha256, 64 hexadecimal digits (printf %s KEY | sha256sum)")
    if unknown := [str(field) for field in given if field not in _FIELDS]:
        wrong.append(f"the key {name!r} has {', '.join(unknown)}; known are {', '.join(_FIELDS)}")
    rate, concurrent = given.get("requests_per_minute", 0), given.get("concurrent", 0)
    for field, value, kinds in (("requests_per_minute", rate, (int, float)), ("concurrent", concurrent, (int,))):
        if isinstance(value, bool) or not isinstance(value, kinds) or value < 0:
            wrong.append(f"{field} of the key {name!r} must be a number from 0 (no limit); got {value!r}")
    dashboard = given.get("dashboard", "")
    if dashboard not in ("", VIEW, ACT):
        wrong.append(f"dashboard of the key {name!r} must be {VIEW} or {ACT}; got {str(dashboard)[:40]!r}")
    problems += [f"{file}: {problem}" for problem in wrong]
    return [] if wrong else [Key(name, sha256, float(rate), int(concurrent), str(dashboard))]
