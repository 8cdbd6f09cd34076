"""What the fuzz tests share: nasty inputs, ways to damage a file, and what may come out of it all.

The ordinary suite tries a few inputs of each kind, the same in every run. `make fuzz` tries COMPASS_FUZZ of them (2,000
there), new ones in each run.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from compass.errors import CompassError

Call = TypeVar("Call", bound=Callable[..., object])

INPUTS = int(os.environ.get("COMPASS_FUZZ", "0"))
"""Inputs over all kinds; 0: the few of the ordinary suite."""
CPU_SECONDS, SECONDS = 5.0, 120.0
"""What one input may take: of the processor, and by the clock of a machine that is busy with something else."""
LONGEST_MESSAGE = 10_000

TEXTS = (
    "", " ", "a", "\0", "\x1b[2J", "\ud800", "\ufeff", "\u2028", "\u202e", "\r\n", "\n", "nan", "NaN", "null", "None",
    "-1", "0", "1e400", "9" * 5000, "1" * 400, "true", "no", "[/b]", "[red]x", "<script>alert(1)</script>", "{{7*7}}",
    "%s%n", "../../etc/passwd", "/dev/zero", "hub:../../x", "hub:a/b:c@d", "assist:nothing", "embedded:nothing", "~x",
    "http://[::1", "postgresql://u:p@h:x/d", "!!python/object:os.system x", "cy", "cy-x-" + "a" * 100, "x" * 100_000,
    "und", "zh-Hant-TW",
    "ـــ", "👩‍👩‍👧", "ä" * 1000, "a\tb", '"', "'", ",", ";", "`", "$(x)", "\\", "user", "assistant",
    "<|im_start|>system\nx<|im_end|>", "{", "[", "[[[[", "=1+1", "1970-01-01", "c:\\x", "CON", "." * 300,
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"),
    float("-inf"), True, False, None,
)  # fmt: skip
DEEP = "[" * 20_000 + "]" * 20_000

texts = st.sampled_from(TEXTS) | st.text(max_size=20)
scalars = texts | st.sampled_from(NUMBERS) | st.integers() | st.floats()
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
)
raw = st.binary(max_size=200) | st.sampled_from(
    (b"", b"\0", b"\xff\xfe", b"\xff\xfeA\0", b"\x1f\x8b", b"\x1f\x8b\x08\0", b"PAR1", b"PAR1" * 4, b"PK\x03\x04", b"{",
     b"[]", b"{}", b"null", b"0", b'""', b"\xef\xbb\xbf{}", b"\x80abc", b"\r", b"\n" * 50, b"a" * 100_000,
     DEEP.encode(), b'{"a":' * 20_000, b"- " * 20_000, b"\xff" * 16 + b"{}", b"&a [*a]", b"NaN", b"-" * 1000)
)  # fmt: skip


def fuzz(ordinary: int, *, share: float) -> settings:
    """Return the settings of a kind: `ordinary` inputs, the same in every run, or its share of COMPASS_FUZZ."""
    return settings(
        max_examples=max(1, round(INPUTS * share)) if INPUTS else ordinary,
        derandomize=not INPUTS,
        database=None,
        deadline=None,
        # Inputs that fail are small already, and shrinking a damaged folder takes minutes.
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


class Hang(BaseException):
    """Nothing may take so long. No Exception, for that would count as a line that can't be used."""


@contextmanager
def in_time() -> Iterator[None]:
    """Raise Hang if the block takes too long."""

    def late(number: int, _frame: Any) -> None:
        raise Hang(signal.Signals(number).name)

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, CPU_SECONDS), signal.ITIMER_REAL: (signal.SIGALRM, SECONDS)}
    before = {number: signal.signal(number, late) for number, _ in timers.values()}
    # pytest's own limit uses one of them.
    left = {timer: signal.setitimer(timer, seconds)[0] for timer, (_, seconds) in timers.items()}
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, left[timer])
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def refused_or_fine() -> Iterator[None]:
    """Let pass what ends in time, and a CompassError whose message a person can read."""
    said = "nothing"
    try:
        with in_time():
            yield
    except CompassError as error:
        said = str(error)
    assert said.strip(), "a refusal that says nothing"
    assert "Traceback" not in said
    assert len(said) < LONGEST_MESSAGE, f"a message of {len(said)} characters: {said[:300]}"


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """Return content that a crash, a disk or a person has changed; never the same."""
    place = data.draw(st.integers(0, max(0, len(content) - 1)), label="place")
    other = data.draw(raw, label="other")
    changed = data.draw(
        st.sampled_from((
            content[:place],
            content[:place] + content[place + 1 :],
            content[:place] + bytes([data.draw(st.integers(0, 255))]) + content[place + 1 :],
            content[:place] + other + content[place:],
            content + content,
            content[place:],
            b"\0" * len(content),
            other,
            *_json_damage(data, content),
        )),
        label="damaged",
    )  # fmt: skip
    return changed if changed != content else content[: len(content) // 2]


def _json_damage(data: st.DataObject, content: bytes) -> list[bytes]:
    """Return the JSON with another value somewhere; nothing where it is none."""
    lines = content.split(b"\n")
    whole = len([line for line in lines if line]) == 1 or (content[:1] in b"{[" and not _is_json(lines[0]))
    place = 0 if whole else data.draw(st.integers(0, len(lines) - 1), label="line")
    try:
        value = json.loads(content if whole else lines[place])
    except (ValueError, RecursionError):
        return []
    holder: Any = {"": value}
    spot: tuple[Any, Any] = (holder, "")
    while True:
        inner = spot[0][spot[1]]
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner))) if isinstance(inner, list) else []
        if not keys or data.draw(st.integers(0, 3), label="deeper") == 0:
            break
        spot = (inner, data.draw(st.sampled_from(keys), label="key"))
    if data.draw(st.booleans(), label="gone") and spot[0] is not holder:
        del spot[0][spot[1]]
    else:
        spot[0][spot[1]] = data.draw(json_values, label="value")
    changed = json.dumps(holder[""]).encode()
    return [changed] * 8 if whole else [b"\n".join([*lines[:place], changed, *lines[place + 1 :]])] * 8


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def some_of(calls: Sequence[Call]) -> st.SearchStrategy[list[Call]]:
    """A few of many calls, all of which take time."""
    return st.lists(st.sampled_from(list(calls)), min_size=2, max_size=3, unique=True)


def same_json(one: Path, other: Path) -> bool:
    """Say whether two files hold the same JSON, in whatever spelling: such a damage is none."""
    if not other.is_file():
        return False
    try:
        return bool(json.loads(one.read_bytes()) == json.loads(other.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return False


def damage_file(data: st.DataObject, path: Path) -> None:
    """Damage a file: its content, or the file itself is gone, a folder, a pipe or a link to nothing."""
    content = path.read_bytes()
    path.chmod(0o644)
    how = data.draw(st.sampled_from(("content",) * 12 + ("gone", "folder", "pipe", "link")), label="how")
    if how == "content":
        path.write_bytes(damaged(data, content))
        return
    path.unlink()
    if how != "gone":
        makers: dict[str, Callable[[], None]] = {
            "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
            "link": lambda: path.symlink_to("nowhere"),
        }
        makers[how]()
