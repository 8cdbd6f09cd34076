"""Language tags: BCP-47 inside, and the conversions to and from every other spelling that data sets use.

Tags are kept as precise as they were given (`zh_CN` becomes `zh-CN`, `pt_br` becomes `pt-BR`), with three reductions
that make one language one string: deprecated codes are replaced (`iw` by `he`), the ISO 639-3 code of the dominant
member of a macrolanguage gives way to the two-letter code (`npi` to `ne`, `arb` to `ar`, `cmn` to `zh`), and a script
that is the language's usual one is left out (`cym_Latn` is `cy`) except for Chinese, where `zh-Hans` and `zh-Hant` are
what people write. CLDR decides all three, through langcodes.
"""

from __future__ import annotations

import difflib
from functools import lru_cache

from compass.errors import LanguageError

UNDETERMINED = "und"
"""The tag of a text whose language nobody has said or found."""
UNKNOWN_NAMES = frozenset({"unknown", "unk", "undetermined", "unspecified", "none", "null", "n/a"})
"""What data sets write where the language is not known; each is read as `und`. `nan` and `na` are Min Nan and Nauru."""
LONGEST_NAME = 100
"""Characters of a tag or a language's name; what is longer is neither [ours]."""
CLOSE = 0.8
"""Similarity from which a name or a code is suggested: at 0.7 `klingonish` was taken for Finnish [ours]."""

_KEEP_SCRIPT = frozenset({"zh"})
"""Languages whose usual script is spelt out all the same."""

_NORWEGIAN = frozenset({"no", "nb", "nn"})

_TO_FLORES = {
    "ak": "aka", "ar": "arb", "ay": "ayr", "az": "azj", "din": "dik", "et": "est", "fa": "pes", "ff": "fuv",
    "fil": "tgl", "gn": "grn", "kr": "knc", "ku": "kmr", "lv": "lvs", "mg": "plt", "mn": "khk", "ms": "zsm",
    "ne": "npi", "no": "nob", "om": "gaz", "or": "ory", "ps": "pbt", "qu": "quy", "sq": "als", "sw": "swh",
    "uz": "uzn", "yi": "ydd",
}  # fmt: skip
"""Where FLORES-200 names one member of a macrolanguage (NLLB Team 2022, arXiv 2207.04672, table 1)."""


@lru_cache(maxsize=4096)
def normalize_tag(tag: str) -> str:
    """Return the BCP-47 tag for `tag`: BCP-47, ISO 639-1 or -3, or `cym_Latn`, with `_` or `-`, in any case.

    Regions are kept. Raises LanguageError, with the nearest tag, for what is no language (names too: see `from_any`).
    """
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    given = tag.strip()
    if given.lower() in (UNDETERMINED, *UNKNOWN_NAMES):
        return UNDETERMINED
    if len(given) > LONGEST_NAME or not given.isprintable():
        # Lone surrogates, NUL and the like, on which langcodes' tables fail.
        shown = given[:LONGEST_NAME].encode("ascii", "backslashreplace").decode("ascii")
        shown += "…" if len(given) > LONGEST_NAME else ""
        raise LanguageError(f"{shown!r} is not a language tag (BCP-47, ISO 639 or cym_Latn).")
    try:
        if not given or not langcodes.tag_is_valid(given):
            raise LanguageError(_unknown(given))
        language = langcodes.Language.get(given)
        dominant = langcodes.Language.get(langcodes.standardize_tag(given, macro=True))
    except LanguageTagError as error:
        raise LanguageError(_unknown(given)) from error
    if language.language is None:
        raise LanguageError(_unknown(given))
    if len(language.language) == 3 and len(dominant.language or "") == 2:
        language = dominant
    if language.script and language.language not in _KEEP_SCRIPT:
        bare = langcodes.Language.make(language=language.language, territory=language.territory)
        usual = bare.maximize().script
        if language.script == usual or (language.script, usual) == ("Hang", "Kore"):
            parts = {name: value for name, value in language.to_dict().items() if name != "script"}
            language = langcodes.Language.make(**parts)
    return str(language.to_tag())


@lru_cache(maxsize=4096)
def from_any(value: str) -> str:
    """Return the BCP-47 tag for a tag, a code or a language's name in English or its own tongue (`Welsh`, `Cymraeg`).

    Raises LanguageError, with the nearest tag or name, if it is neither.
    """
    try:
        return normalize_tag(value)
    except LanguageError:
        found = _code_of_name(value) if len(value) <= LONGEST_NAME and value.strip().isprintable() else None
        if found is None:
            raise
        return normalize_tag(found)


def to_iso639_3(tag: str) -> str:
    """Return the ISO 639-3 code of a tag's language (`cym` for `cy`, `zho` for `zh-Hans`). Raises LanguageError."""
    import langcodes

    normal = normalize_tag(tag)
    if normal == UNDETERMINED:
        return UNDETERMINED
    try:
        return str(langcodes.Language.get(normal).to_alpha3())
    except LookupError as error:
        raise LanguageError(f"The language {normal!r} has no ISO 639-3 code.") from error


def to_flores(tag: str) -> str:
    """Return the FLORES-200 code of a tag: language and script (`cym_Latn`, `npi_Deva`, `zho_Hans`).

    Where FLORES-200 names one member of a macrolanguage, that member (`arb_Arab` for `ar`). Raises LanguageError.
    """
    import langcodes

    normal = normalize_tag(tag)
    if normal == "fa-AF":  # CLDR's tag for Dari, which FLORES-200 lists as a language of its own
        return "prs_Arab"
    language = langcodes.Language.get(normal)
    code = _TO_FLORES.get(language.language or "") or to_iso639_3(normal)
    script = script_of(normal)
    return f"{code}_{'Hang' if script == 'Kore' else script}"


def language_name(tag: str) -> str:
    """Return the English name of a tag (`Welsh`, `Chinese (Hong Kong SAR China)`). Raises LanguageError."""
    import langcodes

    return str(langcodes.Language.get(normalize_tag(tag)).display_name("en"))


@lru_cache(maxsize=4096)
def script_of(tag: str) -> str:
    """Return the ISO 15924 script that a tag states or implies (`Latn`, `Hans`; `Zzzz` if unknown).

    Raises LanguageError.
    """
    import langcodes

    normal = normalize_tag(tag)
    if normal == UNDETERMINED:  # CLDR's guess for an unknown language is English in Latin
        return "Zzzz"
    return str(langcodes.Language.get(normal).maximize().script or "Zzzz")


@lru_cache(maxsize=65536)
def same_language(a: str, b: str) -> bool:
    """Say whether two tags name one language, whatever the region [ours].

    Scripts count only where both tags state one, by itself or by a region (`zh-CN` is `zh-Hans`, not `zh-TW`; plain
    `zh` is any of them). `no` is `nb` and is `nn`, but these two differ. `und` is nothing but itself.
    Raises LanguageError.
    """
    import langcodes

    first, second = normalize_tag(a), normalize_tag(b)
    if first == second:
        return True
    one, other = langcodes.Language.get(first), langcodes.Language.get(second)
    if one.language != other.language:
        return {one.language, other.language} <= _NORWEGIAN and "no" in (one.language, other.language)
    stated = [language.script or language.territory for language in (one, other)]
    return not all(stated) or script_of(first) == script_of(second)


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Return tag by lower-case English name, for every language with a two-letter code."""
    import string

    import langcodes

    letters = string.ascii_lowercase
    codes = (a + b for a in letters for b in letters if langcodes.tag_is_valid(a + b))
    return {str(langcodes.Language.get(code).display_name("en")).lower(): normalize_tag(code) for code in codes}


def _code_of_name(name: str) -> str | None:
    """Return the code of a language by its full name; None when there is no such name."""
    import langcodes

    try:
        found = langcodes.find(name.strip())
    except LookupError:
        return None
    # langcodes completes prefixes (`wels`, `ir`); a guess is good for a suggestion, not for data
    names = {found.display_name("en"), found.autonym(), *found.describe("en").values()}
    known = {text.casefold() for text in names} | {n for n, code in _names().items() if code == found.to_tag()}
    wanted = name.strip().casefold()
    return str(found.to_tag()) if wanted in known or " " in wanted or "(" in wanted else None


def _unknown(given: str) -> str:
    """Return the message for what is no language, with the nearest tag."""
    names = _names()
    nearest = difflib.get_close_matches(given.lower(), names, n=1, cutoff=CLOSE)
    if nearest:
        name, tag = nearest[0], names[nearest[0]]
    else:
        primary = given.lower().replace("_", "-").split("-")[0]
        codes = {code: (name, tag) for name, tag in names.items() for code in (tag, _alpha3(tag))}
        close = difflib.get_close_matches(primary, codes, n=1, cutoff=CLOSE)
        name, tag = codes[close[0]] if close else ("", "")
    hint = f"Did you mean {tag!r} ({name.title()})?" if tag else "Use a tag such as 'cy', 'zh-Hans' or 'pt-BR'."
    return f"{given!r} is not a language tag (BCP-47, ISO 639 or cym_Latn). {hint}"


def _alpha3(tag: str) -> str:
    import langcodes

    return str(langcodes.Language.get(tag).to_alpha3())
