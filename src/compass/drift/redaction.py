"""Replace private data in a prompt by what kind it was of: `[EMAIL]`, `[PHONE]`, `[IBAN]`.

Rules alone, from libraries that ship them, nothing is downloaded: DataFog's patterns (e-mail and IP addresses, card and
social security numbers, dates, postcodes; German numbers for German text), libphonenumber for telephone numbers of the
world, python-stdnum for IBANs. Names of people and street addresses are not found: no rule can, in 75 languages.
"""

from __future__ import annotations

import re

from compass.data.scripts import is_unspaced
from compass.errors import MissingExtraError

Span = tuple[int, int, str]
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")


def redact(text: str, language: str = "und") -> str:
    """Return the text with private data replaced. Raises MissingExtraError without the packages."""
    # Rules look for the ends of words, which Chinese, Japanese or Thai text does not show: each such character is read
    # as a space. The sort is stable: of two rules for the same characters, the more particular one names them.
    spaced = "".join(" " if is_unspaced(character) else character for character in text)
    found = [*_ibans(spaced), *_patterns(spaced, language), *_phones(spaced, language)]
    spans = sorted(found, key=lambda span: (span[0], -span[1]))
    out, end = [], 0
    for start, stop, kind in spans:
        if start >= end:
            out += [text[end:start], f"[{kind}]"]
        end = max(end, stop)
    return "".join([*out, text[end:]])


def check_installed() -> None:
    """Raise MissingExtraError now, and not at the first prompt, if redaction can't work."""
    redact("")


def _patterns(text: str, language: str) -> list[Span]:
    try:
        from datafog.engine import scan
    except ImportError:
        raise MissingExtraError("datafog", "redaction", "Keeping redacted prompts") from None
    locales = ["de"] if language.split("-")[0] == "de" else None
    return [(found.start, found.end, found.type) for found in scan(text, engine="regex", locales=locales).entities]


def _phones(text: str, language: str) -> list[Span]:
    try:
        import phonenumbers
    except ImportError:
        raise MissingExtraError("phonenumbers", "redaction", "Keeping redacted prompts") from None
    # A language is spoken in several regions, and a national number is one of any of them.
    regions = [None, *_regions(language)]
    return [
        (match.start, match.end, "PHONE")
        for region in regions
        for match in phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.POSSIBLE)
        if len(re.sub(r"\D", "", match.raw_string)) >= 7
    ]


def _regions(language: str) -> list[str]:
    import langcodes

    region = langcodes.Language.get(language).maximize().territory if language != "und" else None
    return [region] if region and len(region) == 2 else []


def _ibans(text: str) -> list[Span]:
    try:
        from stdnum import iban
    except ImportError:
        raise MissingExtraError("python-stdnum", "redaction", "Keeping redacted prompts") from None
    spans = []
    for match in _IBAN.finditer(text):
        # Words after the number can look like more of it: the longest valid start counts.
        for stop in range(match.end(), match.start() + 14, -1):
            if iban.is_valid(text[match.start() : stop]):
                spans.append((match.start(), stop, "IBAN"))
                break
    return spans
