"""Card and account numbers and national identity numbers, by their checksums (python-stdnum)."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from compass.data.redaction.context import said_last, says
from compass.data.redaction.spans import Scanned, Span
from compass.errors import MissingExtraError

_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ ]?\d{2}(?:[ .-]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
_ACCOUNT = re.compile(r"(?<![\w.-])\d{2}(?: ?\d{4}){6}(?![\w-])")
"""A Polish account without its country."""
_CARD = re.compile(r"(?<![\w.-])\d(?:[ .-]{0,2}\d){12,18}(?![\w-]|[.]\d)")
_CARD_LENGTHS = (
    # Those of 13 digits are no longer issued, and articles have as many (EAN).
    (re.compile(r"4"), (16, 19)),
    (re.compile(r"5[1-5]|2[2-7]"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"3[0689]"), (14,)),
    (re.compile(r"35"), (16,)),
    (re.compile(r"6"), (16, 17, 18, 19)),
)


@dataclass(frozen=True)
class _Id:
    """A kind of national number: its module in stdnum, how it is written, whether that and the checksum suffice."""

    module: str
    pattern: str
    alone: bool = False
    """Private without a word beside it: the pattern or the checksum is met by few other numbers."""
    word: str = "identity"


_IDS = (
    # Few other things look like these, whatever their check digit.
    _Id("", r"(?i:[A-Z]{6} ?\d{2} ?[A-EHLMPRST]\d{2} ?[A-Z]\d{3} ?[A-Z])", alone=True),  # codice fiscale
    _Id("", r"(?i:[A-Z]{3} [A-Z]{3} \d{2}[A-EHLMPRST]\d{2} [A-Z]\d{3}[A-Z])", alone=True),
    _Id("", r"[12] \d{2} (?:0[1-9]|1[0-2]) [0-9AB]{2} \d{3} \d{3} \d{2}", alone=True),  # sécurité sociale
    _Id("", r"(?i:[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]) ?\d{2} ?\d{2} ?\d{2} ?[A-Da-d]", alone=True),  # NI
    _Id("it.iva", r"\d{11}"),
    _Id("es.dni", r"\d{8}[ -]?[A-Za-z]|\d{2}\.\d{3}\.\d{3}[ -]?[A-Za-z]", alone=True),
    _Id("es.nie", r"[XYZxyz][ -]?\d{7}[ -]?[A-Za-z]", alone=True),
    _Id("fr.nir", r"[12][ .]?\d{2}[ .]?\d{2}[ .]?[0-9AB]{2}[ .]?\d{3}[ .]?\d{3}[ .-]?\d{2}", alone=True),
    _Id("fr.nif", r"[0-3]\d{1,2}(?: ?\d{2,3}){3,4}"),
    _Id("gb.nhs", r"\d{3}[ -]?\d{3}[ -]?\d{4}"),
    _Id("gb.utr", r"\d{5} ?\d{5}"),
    _Id("us.ssn", r"\d{3}-\d{2}-\d{4}", alone=True),
    _Id("us.ssn", r"\d{3} ?\d{2} ?\d{4}"),
    _Id("ca.sin", r"\d{3}[ -]\d{3}[ -]\d{3}|\d{9}"),
    _Id("au.tfn", r"\d{3} ?\d{3} ?\d{3}"),
    _Id("in_.aadhaar", r"[2-9]\d{3}[ -]\d{4}[ -]\d{4}", alone=True),
    _Id("in_.aadhaar", r"[2-9]\d{11}"),
    _Id("in_.pan", r"[A-Za-z]{3}[ABCFGHLJPTabcfghljpt][A-Za-z]\d{4}[A-Za-z]", alone=True),
    _Id("br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}", alone=True),
    _Id("br.cpf", r"\d{9}-?\d{2}"),
    _Id("br.cnpj", r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}", alone=True),
    _Id("cn.ric", r"\d{6} ?\d{8} ?\d{3}[\dXx]", alone=True),
    _Id("kr.rrn", r"\d{6}-[1-8]\d{6}", alone=True),
    _Id("tr.tckimlik", r"[1-9]\d{10}"),
    _Id("pl.pesel", r"\d{11}"),
    _Id("pl.nip", r"\d{3}-\d{3}-\d{2}-\d{2}|\d{3}-\d{2}-\d{2}-\d{3}|\d{10}"),
    _Id("nl.bsn", r"\d{9}|\d{4}[. ]\d{2}[. ]\d{3}"),
    _Id("de.idnr", r"\d{2} ?\d{3} ?\d{3} ?\d{3}"),
    _Id("be.nn", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", alone=True),
    _Id("be.nn", r"\d{11}"),
    _Id("se.personnummer", r"(?:\d{2})?\d{6}[-+]\d{4}", alone=True),
    _Id("fi.hetu", r"\d{6}[-+A-FU-Ya-fu-y]\d{3}[0-9A-Ya-y]", alone=True),
    _Id("dk.cpr", r"\d{6}-\d{4}"),
    _Id("no.fodselsnummer", r"\d{6} ?\d{5}"),
    _Id("pt.nif", r"\d{3} ?\d{3} ?\d{3}"),
    _Id("ro.cnp", r"[1-8]\d{12}"),
    _Id("bg.egn", r"\d{10}"),
    _Id("cz.rc", r"\d{6}/\d{3,4}", alone=True),
    _Id("hr.oib", r"\d{11}"),
    _Id("ee.ik", r"\d{11}"),
    _Id("gr.amka", r"\d{11}"),
    _Id("mx.curp", r"[A-Za-z]{4}\d{6}[HMXhmx][A-Za-z]{5}[A-Za-z0-9]\d", alone=True),
    _Id("mx.rfc", r"[A-Za-zÑñ&]{3,4}[ -]?\d{6}[ -]?[A-Za-z0-9]{3}", alone=True),
    _Id("cl.rut", r"\d{1,2}\.\d{3}\.\d{3}-[\dKk]", alone=True),
    _Id("ch.ssn", r"756\.?\d{4}\.?\d{4}\.?\d{2}", alone=True),
    _Id("ie.pps", r"\d{7}[A-Wa-w][A-IWa-iw]?"),
    _Id("il.idnr", r"\d{8,9}|\d{7}-\d"),
    _Id("za.idnr", r"\d{6} ?\d{4} ?\d{3}"),
    _Id("ua.rntrc", r"\d{10}"),
    _Id("ru.inn", r"\d{12}"),
    _Id("jp.cn", r"\d{13}"),
    _Id("jp.in_", r"\d{4}[ -]?\d{4}[ -]?\d{4}"),
    _Id("kr.brn", r"\d{3}-\d{2}-\d{5}|\d{10}"),
    _Id("se.orgnr", r"\d{6}-?\d{4}"),
    _Id("eu.vat", r"[A-Z]{2}[0-9A-Z]{8,12}"),
    _Id("", r"\d{3}\.\d{5}\.\d{2}-\d", alone=True),  # PIS
    _Id("th.pin", r"\d-\d{4}-\d{5}-\d{2}-\d", alone=True),
    _Id("th.pin", r"\d{13}"),
    _Id("id.nik", r"\d{16}"),
    _Id("my.nric", r"\d{6}-\d{2}-\d{4}"),
    # Without a checksum in stdnum, private with a word beside them: Spanish and British social security,
    _Id("", r"\d{2}[ /]?\d{8}[ /]?\d{2}|(?i:[A-Z]{2}) ?\d{2} ?\d{2} ?\d{2} ?[A-Da-d]"),
    # passports, German identity cards, Russian passports and SNILS.
    _Id("", r"[A-Za-z]{1,3}\d{6,8}[A-Za-z]?|\d{9}|[CFGHJK][0-9CFGHJKLMNPRTVWXYZ]{8,9}", word="document"),
    _Id("", r"\d{3}-\d{3}-\d{3}[ -]\d{2}|\d{2} ?\d{2} ?\d{6}|\d{11}|\d{2} ?\d{6} ?[A-Za-z] ?\d{3}", word="document"),
)  # fmt: skip
_PATTERNS = tuple((kind, re.compile(rf"(?<![\w.-])(?:{kind.pattern})(?![\w]|-\d|[.]\d)")) for kind in _IDS)


def find_numbers(scanned: Scanned) -> Iterator[Span]:
    """Yield IBANs, card numbers and national identity numbers."""
    yield from _ibans(scanned.spaced)
    if sum(character.isdigit() for character in scanned.spaced) < 4:
        return
    for match in _CARD.finditer(scanned.spaced):
        if _is_card(re.sub(r"\D", "", match[0])):
            yield match.start(), match.end(), "CREDIT_CARD"
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(scanned.spaced):
            if _is_id(scanned, kind, match.start(), match.end()):
                yield match.start(), match.end(), "NATIONAL_ID"


def _is_card(digits: str) -> bool:
    known = any(prefix.match(digits) and len(digits) in lengths for prefix, lengths in _CARD_LENGTHS)
    return known and len(set(digits)) > 1 and bool(_module("luhn").is_valid(digits))


def _is_id(scanned: Scanned, kind: _Id, start: int, end: int) -> bool:
    said = said_last(scanned, start, end, kind.word, "other number")
    if not kind.module:
        return said or (kind.alone and not says(scanned, start, end, "other number"))
    valid = bool(_module(kind.module).is_valid(re.sub(r"[ .]", "", scanned.spaced[start:end])))
    # What is written as one, beside a word for it, is private with a mistyped digit as well.
    return (said and (valid or kind.alone)) or (valid and kind.alone and not says(scanned, start, end, "other number"))


def _ibans(text: str) -> Iterator[Span]:
    iban = _module("iban")
    for match in _IBAN.finditer(text):
        # Words after the number can look like more of it: the longest valid start counts.
        for stop in range(match.end(), match.start() + 14, -1):
            if text[stop - 1].isalnum() and iban.is_valid(text[match.start() : stop]):
                yield match.start(), stop, "IBAN"
                break
    for match in _ACCOUNT.finditer(text):
        if iban.is_valid(f"PL{match[0]}"):
            yield match.start(), match.end(), "IBAN"


@lru_cache(maxsize=256)
def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"stdnum.{name}")
    except ImportError:
        raise MissingExtraError("python-stdnum", "redaction", "Replacing private data") from None
