"""Telephone numbers, by the numbering plans of libphonenumber and the words beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import regex

from compass.data.redaction.context import said_last, says
from compass.data.redaction.spans import Scanned, Span
from compass.errors import MissingExtraError

_REGIONS = {
    "ar": ("EG", "SA", "AE", "MA"), "de": ("DE", "AT", "CH"), "en": ("GB", "US", "IN", "AU", "IE"),
    "es": ("ES", "MX", "AR", "CO"), "fr": ("FR", "BE", "CH", "CA"), "it": ("IT", "CH"), "nl": ("NL", "BE"),
    "pt": ("BR", "PT"), "ru": ("RU", "KZ"), "zh": ("CN", "TW", "HK"),
}  # fmt: skip
"""Regions whose national numbers a language's texts may have, where there is more than the main one."""
_ANYWHERE = ("GB", "US", "DE", "FR", "ES", "IT", "IN", "CN", "BR", "RU")
"""Regions for a text whose language nobody knows."""
_OTHERS = regex.compile(
    r"(?<![\d.])(?:(?:19|20)\d{2}([-/.])(?:0?[1-9]|1[0-2])\1(?:[0-2]?\d|3[01])"  # dates
    r"|(?:[0-2]?\d|3[01])([-/.])(?:[0-2]?\d|3[01])\2(?:(?:19|20)\d{2}|\d{2}))(?![-/.]?\d)"
    r"|(?<!\d)\d{1,4}\s?[年月日号號时時分点點]"
    r"|(?<!\d)\d{1,2}:\d{2}(?::\d{2})?(?!\d)"  # times
    r"|(?<![\d.])[-+]?\d{1,3}\.\d{3,}(?:\s*°|\s*,\s*[-+]?\d{1,3}\.\d{3,})"  # coordinates
    r"|(?<!\d)(?:19|20)\d{2}\s*[-/]\s*(?:19|20)\d{2}(?!\d)"  # years
    r"|(?<![\w-])(?=[0-9-]{0,40}[a-f])(?=[a-f-]{0,40}\d)[0-9a-f]{6,}+(?:-[0-9a-f]{4,}+)*+(?![\w-])"  # hashes, UUIDs
    r"|(?<!\d)97[89][- ]?(?:\d[- ]?){9}\d(?!\d)"  # ISBN-13
    r"|(?<![\d.,])\d++(?:[ .,]\d{3})*+(?:[.,]\d++)?\s?"
    r"(?:[€$£¥₹₽%]|(?:kg|km|cm|mm|m²|ms|kb|mb|gb|eur|usd|px|euros?|dollars?)\b)"  # amounts
    r"|[€$£¥₹₽]\s?\d[\d ,.]*"
    r"|(?<![\d.])255(?:\.\d{1,3}){3}(?![\d.]*\d)"  # masks of networks
    r"|(?:cep|zip|zip code|postal code|postcode|plz|〒|c[óo]digo postal|code postal|kod pocztowy|"
    r"postnummer|posta kodu|cap)[:：\s]{0,3}\d[\d-]{3,8}(?!\d)"  # postcodes
    r"|\b[A-Za-z]{2,5}[-/#]\d[\d-]*|#\s?\d+"  # SKU-12345, #12345
    r"|(?<!\d)\d++(?:\s?[*=<>x×+]\s?\d++|\s/\s\d++)+",  # sums
    regex.IGNORECASE,
)
"""Numbers of other kinds, each of them blanked before telephone numbers are looked for."""

_CANDIDATE = regex.compile(r"(?<![\p{L}\d])[+(]{0,2}\d(?:[ ()/.-]{0,3}\d){6,40}")
_TRIES = 10
"""Numbers in a row of digits that libphonenumber may find to be none before it gives up; its own limit is 65,535."""


def find_phones(scanned: Scanned, language: str) -> Iterator[Span]:
    """Yield telephone numbers: international ones, national ones of the language's regions, others with a word."""
    text = scanned.spaced
    if sum(character.isdigit() for character in text) < 7:
        return
    for match in _OTHERS.finditer(scanned.plain):
        text = text[: match.start()] + " " * len(match[0]) + text[match.end() :]
    for candidate in _CANDIDATE.finditer(text):
        first = max(0, candidate.start() - 2)
        piece = text[first : candidate.end() + 2]
        for region in (None, *_regions(language)):
            valid = set(_matches(piece, region, "VALID"))
            for start, end in _matches(piece, region, "POSSIBLE"):
                found = piece[start:end]
                digits = sum(character.isdigit() for character in found)
                if digits >= (8 if region is None else 7) and _is_phone(
                    scanned, first + start, first + end, found, valid=(start, end) in valid
                ):
                    yield first + start, first + end, "PHONE"


def _matches(text: str, region: str | None, leniency: str) -> list[tuple[int, int]]:
    """Return where libphonenumber sees numbers; a `VALID` one has the prefix that its region asks for."""
    try:
        import phonenumbers
    except ImportError:
        raise MissingExtraError("phonenumbers", "redaction", "Replacing private data") from None
    lenient = getattr(phonenumbers.Leniency, leniency)
    found = phonenumbers.PhoneNumberMatcher(text, region, leniency=lenient, max_tries=_TRIES)
    return [(match.start, match.end) for match in found]


def _is_phone(scanned: Scanned, start: int, end: int, found: str, *, valid: bool) -> bool:
    if found.startswith(("+", "00")):
        return valid or not says(scanned, start, end, "other number")
    apart = bool(re.search(r"[ ()/.-]", found))
    if says(scanned, start, end, "phone"):
        like_one = valid or apart or len(found) >= 9
        return like_one and said_last(scanned, start, end, "phone", "other number")
    if re.match(r"[.-]\d", scanned.after(end, 2)) and not valid:
        # The beginning of a longer number.
        return False
    if says(scanned, start, end, "other number") or re.search(r"[A-Za-z0-9][:_=/#]$", scanned.before(start, 2)):
        return False
    written_as_one = apart and bool(re.match(r"\(?0[1-9]|\(\d", found))
    groups = [len(group) for group in re.findall(r"\d+", found)]
    thousands = sum(groups) < 9 and set(groups[1:]) == {3}
    return written_as_one or (valid and not thousands and (len(groups) > 1 or len(found) >= 11))


@lru_cache(maxsize=1024)
def _regions(language: str) -> tuple[str, ...]:
    import langcodes

    if language == "und":
        return _ANYWHERE
    tag = langcodes.Language.get(language)
    main = tag.territory or tag.maximize().territory
    more = () if tag.territory else _REGIONS.get(tag.language or "", ())
    return tuple(dict.fromkeys(region for region in (main, *more) if region and len(region) == 2 and region.isalpha()))
