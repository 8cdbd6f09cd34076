"""Tags from every spelling that data sets use, one spelling inside."""

from __future__ import annotations

import pytest

from compass.data.languages import (
    from_any,
    language_name,
    normalize_tag,
    same_language,
    script_of,
    to_flores,
    to_iso639_3,
)
from compass.errors import LanguageError


@pytest.mark.parametrize(
    ("given", "tag"),
    [
        ("cym", "cy"), ("CY", "cy"), ("cym_Latn", "cy"), ("eng-Latn", "en"), ("zh_CN", "zh-CN"),
        ("zho_Hans", "zh-Hans"),
        ("cmn_Hant", "zh-Hant"), ("arb_Arab", "ar"), ("arz_Arab", "arz"), ("npi-Deva", "ne"), ("swh_Latn", "sw"),
        ("zsm_Latn", "ms"), ("pt_br", "pt-BR"), ("iw", "he"), ("nob", "nb"), ("nor", "no"), ("srp_Cyrl", "sr"),
        ("sr_latn", "sr-Latn"), ("amh-Ethi", "am"), ("yue_Hant", "yue"), ("tgl", "fil"), ("und", "und"), (" cy ", "cy"),
        ("de-CH", "de-CH"), ("mni_Mtei", "mni-Mtei"), ("kor-Hang", "ko"),
    ],
)  # fmt: skip
def test_normalize_tag(given: str, tag: str) -> None:
    """Two spellings of a language would count as two languages; or a region or a rare script would be lost."""
    assert normalize_tag(given) == tag
    assert normalize_tag(tag) == tag


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("cyy", r"'cy' \(Welsh\)"),
        ("welsh", r"'cy' \(Welsh\)"),
        ("Englsh", r"'en' \(English\)"),
        ("nepalii", r"'ne' \(Nepali\)"),
        ("", "Use a tag such as"),
        ("klingonish", "Use a tag such as"),
        ("klingon", "Use a tag such as"),
        ("elvish", "Use a tag such as"),
    ],
)
def test_unknown_tags_get_a_suggestion(given: str, hint: str) -> None:
    """A typo would run as a language of its own, be refused without the next step, or be taken for a far language."""
    with pytest.raises(LanguageError, match=hint):
        normalize_tag(given)


def test_names() -> None:
    """Aya's language names would be refused, or a prefix that langcodes completes (`wels`) would be taken for one."""
    assert [from_any(name) for name in ("Welsh", "Cymraeg", "Simplified Chinese", "Standard Arabic", "cym")] == [
        "cy", "cy", "zh-Hans", "ar", "cy",
    ]  # fmt: skip
    with pytest.raises(LanguageError):
        from_any("wels")


# FLORES-200's own names (NLLB Team 2022)
FLORES = (
    "cym_Latn", "npi_Deva", "arb_Arab", "zho_Hans", "zho_Hant", "yue_Hant", "pes_Arab", "prs_Arab", "swh_Latn",
    "zsm_Latn", "tgl_Latn", "nob_Latn", "srp_Cyrl", "plt_Latn", "khk_Cyrl", "als_Latn", "uzn_Latn", "ydd_Hebr",
    "lvs_Latn", "est_Latn", "azj_Latn", "kmr_Latn", "ory_Orya", "quy_Latn", "mni_Beng", "kas_Deva", "eng_Latn",
    "kor_Hang", "jpn_Jpan",
)  # fmt: skip


@pytest.mark.parametrize("code", FLORES)
def test_flores_codes_come_back(code: str) -> None:
    """SIB-200 and FLORES files would not be found for a language, or found for another."""
    assert to_flores(normalize_tag(code)) == code


def test_conversions() -> None:
    """Names and codes in reports and data sets would be wrong."""
    assert [to_iso639_3(tag) for tag in ("cy", "zh-Hans", "pt-BR", "nb")] == ["cym", "zho", "por", "nob"]
    assert [script_of(tag) for tag in ("cy", "zh-TW", "sr-Latn", "ne", "und")] == [
        "Latn",
        "Hant",
        "Latn",
        "Deva",
        "Zzzz",
    ]
    assert language_name("cym") == "Welsh"
    assert to_flores("ar") == "arb_Arab"
    assert to_flores("est") == "est_Latn"


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("zh-Hans", "zh-CN", True), ("zh", "zh-TW", True), ("zh-CN", "zh-TW", False), ("zh-HK", "zh-Hant", True),
        ("nb", "no", True), ("nn", "no", True), ("nb", "nn", False), ("pt", "pt-BR", True), ("pt-PT", "pt-BR", True),
        ("sr", "sr-Latn", True), ("sr-Cyrl-RS", "sr-Latn", False), ("cy", "en", False), ("und", "en", False),
        ("npi", "ne", True),
    ],
)  # fmt: skip
def test_same_language(a: str, b: str, same: bool) -> None:
    """The wrong-language filter would drop good rows (zh-CN read as zh) or keep bad ones."""
    assert same_language(a, b) is same_language(b, a) is same
