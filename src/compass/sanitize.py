"""What text from outside may do to a terminal, a log or a page: nothing. And what a message must not show: secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

SHORTEST_SECRET = 8
"""Characters of an environment variable's value below which it is no secret that could be told from a word."""
SECRET_VARIABLE = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)
"""Names of environment variables whose values are never shown."""
SECRET_FLAGS = frozenset({"--webhook-url", "--hook-command"})
"""Flags whose whole value may be a secret: the address of a webhook carries its token in the path."""
HIDDEN = "***"

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and newline, line separators, what turns the writing direction, halves of surrogates."""
_NAMES = r"""(?:[\w.-]{0,40}(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|
    auth[_-]?token|access[_-]?token|refresh[_-]?token|session[_-]?token)|(?<![\w-])(?:token|pwd|pass|key|sig|signature|auth))"""
_SECRETS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.VERBOSE), shown)
    for pattern, shown in (
        # scheme://user:password@host; a password may hold any character but a space, an @ too.
        (r"""(//[^\s/:@?'"]{0,200}):(?:(?!://)[^\s'"]){0,400}@""", r"\1:***@"),
        # https://token@host
        (r"""(https?://)[^\s/@?:'"]{1,400}@""", r"\1***@"),
        # ?password=..., password='...' of a connection string, API_KEY=...
        (rf"""\b({_NAMES}["']?\s?[=]\s?)(?:"[^"]*"|'[^']*'|[^\s&;,'")\]}}]+)""", r"\1***"),
        # "password": "..." of JSON and of dicts
        (rf"""(["']{_NAMES}["']\s?:\s?)(?:"[^"]*"|'[^']*')""", r"\1'***'"),
        (r"""\b((?:bearer|basic)\s)[\w.~+/=-]{6,}""", r"\1***"),
        # Keys that tell themselves by how they begin: of OpenAI, Hugging Face, GitHub, GitLab, Slack, AWS.
        (r"""\b(sk-|hf_|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|AKIA)[\w-]{8,}""", r"\1***"),
    )
)


def printable(text: object, *, line: bool = False) -> str:
    r"""Return text that shows as it is written: control characters become escapes, as `\x1b`.

    A terminal would obey them: move the cursor, change its title, overwrite what was said. Tabs and newlines stay.
    line: lines after the first are indented, so that none can be taken for a line of a log of its own.
    """
    shown = _UNPRINTABLE.sub(_escape, str(text).replace("\r\n", "\n"))
    return shown.replace("\n", "\n  ") if line else shown


def printable_json(text: str) -> str:
    r"""Return JSON with the same content, whose strings hold no control character as it is: U+009B is `\u009b`."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def without_secrets(text: str) -> str:
    """Return a message with `***` for passwords in addresses, keys, tokens, and what secret variables hold."""
    for name, value in os.environ.items():
        if len(value.strip()) >= SHORTEST_SECRET and SECRET_VARIABLE.search(name):
            text = text.replace(value.strip(), HIDDEN)
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def arguments_without_secrets(arguments: Sequence[str]) -> list[str]:
    """Return a command's arguments as they may be shown."""
    shown, hide = [], False
    for argument in arguments:
        flag, sign, _value = argument.partition("=")
        is_secret = flag.replace("_", "-") in SECRET_FLAGS
        shown.append(HIDDEN if hide else f"{flag}={HIDDEN}" if is_secret and sign else without_secrets(argument))
        hide = is_secret and not sign
    return shown


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
