"""Replace private data in texts by what kind it was of: `[EMAIL]`, `[PHONE]`, `[IBAN]`.

Rules alone, from libraries that ship them, nothing is downloaded: DataFog's patterns (e-mail and IP addresses, card and
social security numbers, dates, postcodes; German numbers for German text), libphonenumber for telephone numbers of the
world, python-stdnum for IBANs. Names of people and street addresses are not found: no rule can, in 75 languages.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

from compass.data.example import Example, Message
from compass.data.scripts import is_unspaced
from compass.errors import MissingExtraError

Span = tuple[int, int, str]
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
_JSON_VALUE = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*')


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


def redact_example(row: Example) -> Example:
    """Return the row with private data replaced in prompt, response and context; a response in JSON stays JSON."""
    prompt = redact(row.prompt, row.language)
    response = (
        _redact_json(row.response, row.language) if _is_json(row.response) else redact(row.response, row.language)
    )
    context = tuple(Message(turn.role, redact(turn.content, row.language)) for turn in row.context)
    return replace(row, prompt=prompt, response=response, context=context)


def check_installed() -> None:
    """Raise MissingExtraError now, and not at the first text, if redaction can't work."""
    redact("")


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _redact_json(text: str, language: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[0].startswith('"'):
            return f'"{redact(match[0][1:-1], language)}"'
        found = redact(match[0], language)
        # A number that gives way to a mark becomes a text, or the whole would be no JSON any more.
        return found if found == match[0] else f'"{found}"'

    return _JSON_VALUE.sub(value, text)


def _patterns(text: str, language: str) -> list[Span]:
    try:
        from datafog.engine import scan
    except ImportError:
        raise MissingExtraError("datafog", "redaction", "Replacing private data") from None
    locales = ["de"] if language.split("-")[0] == "de" else None
    return [(found.start, found.end, found.type) for found in scan(text, engine="regex", locales=locales).entities]


def _phones(text: str, language: str) -> list[Span]:
    try:
        import phonenumbers
    except ImportError:
        raise MissingExtraError("phonenumbers", "redaction", "Replacing private data") from None
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
        raise MissingExtraError("python-stdnum", "redaction", "Replacing private data") from None
    spans = []
    for match in _IBAN.finditer(text):
        # Words after the number can look like more of it: the longest valid start counts.
        for stop in range(match.end(), match.start() + 14, -1):
            if iban.is_valid(text[match.start() : stop]):
                spans.append((match.start(), stop, "IBAN"))
                break
    return spans
