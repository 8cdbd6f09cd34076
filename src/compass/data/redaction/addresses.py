"""E-mail, IP and hardware addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import regex

from compass.data.redaction.context import says
from compass.data.redaction.spans import Scanned, Span
from compass.data.scripts import is_unspaced

_LOCAL, _LABEL = r"[\p{L}\p{M}\p{N}.!#$%&'*+/=?^`{|}~_-]", r"[\p{L}\p{M}\p{N}-]"
_EMAIL = regex.compile(
    rf"(?<!{_LOCAL}){_LOCAL}++(?<![.])@(?:{_LABEL}+\.)+(?P<top>[\p{{L}}\p{{M}}][\p{{L}}\p{{M}}\p{{N}}-]+)"
)
_WORD = r"(?<![\p{L}\p{M}\p{N}._-])[\p{L}\p{M}\p{N}._-]++"
_SPELT = regex.compile(
    rf"(?i){_WORD}\s?[(\[]\s?(?:at|arroba|chez)\s?[)\]]\s?{_LABEL}+"
    rf"(?:\s?(?:\.|[(\[]\s?(?:dot|punto|point|punkt)\s?[)\]])\s?{_LABEL}+)+"
    rf"|{_WORD} (?:at|arroba) {_LABEL}+ (?:dot|punto) (?:com|org|net|edu|gov|io|info|[a-z]{{2}})\b"
)
"""`jo (at) example (dot) org`, `jo at example dot org`."""
_FILES = frozenset({"gif", "jpeg", "jpg", "js", "json", "md", "png", "py", "svg", "txt", "webp"})
_IPV4 = regex.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6 = regex.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|\d{1,3}(?:\.\d{1,3}){3})?(?:%\w+)?(?![\w:])"
)
_MAC = regex.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])")


def find_addresses(scanned: Scanned) -> Iterator[Span]:
    """Yield e-mail addresses, IP addresses that are not the machine's own, and MAC addresses."""
    yield from _emails(scanned)
    for match in _IPV4.finditer(scanned.spaced):
        if _is_private_v4(scanned, match.start(), match.end()):
            yield match.start(), match.end(), "IP_ADDRESS"
    for match in _IPV6.finditer(scanned.spaced):
        if _is_private_v6(match[0]):
            yield match.start(), match.end(), "IP_ADDRESS"
    for match in _MAC.finditer(scanned.spaced):
        yield match.start(), match.end(), "MAC_ADDRESS"


def _emails(scanned: Scanned) -> Iterator[Span]:
    for text in (scanned.spaced, scanned.plain):
        for match in _EMAIL.finditer(text):
            start = match.start() + len(match[0]) - len(match[0].lstrip(".'`/=|{}*#!?&%$"))
            remote = text[start : match.end()].startswith("git@") and text[match.end() : match.end() + 1] == ":"
            # Chinese words stand beside an address without a space: only where its name is of them are they looked at.
            unread = text is scanned.plain and not is_unspaced(text[match[0].index("@") + match.start() - 1])
            if match["top"].lower() not in _FILES and not remote and not unread:
                yield start, match.end(), "EMAIL"
    for match in _SPELT.finditer(scanned.spaced):
        yield match.start(), match.end(), "EMAIL"


def _is_private_v4(scanned: Scanned, start: int, end: int) -> bool:
    found = scanned.spaced[start:end]
    try:
        address = ipaddress.IPv4Address(found)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or found.startswith("255."):
        return False
    if says(scanned, start, end, "address"):
        return True
    # 2.4.1.0 is a version or a section, 10.4.1.20 an address.
    return not says(scanned, start, end, "version") and (
        address.is_private or any(int(part) >= 20 for part in found.split("."))
    )


def _is_private_v6(found: str) -> bool:
    try:
        address = ipaddress.IPv6Address(found.partition("%")[0])
    except ValueError:
        return False
    groups = [group for group in found.split(":") if group]
    return not (address.is_loopback or address.is_unspecified) and (len(groups) >= 3 or len(groups[0]) == 4)
