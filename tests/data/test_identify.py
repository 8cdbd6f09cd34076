"""Identification answers where it can, and says `und` where it cannot."""

from __future__ import annotations

import pytest

from compass.data.identify import can_identify, identified_as, identify_languages, neighbours, supported_languages
from compass.data.languages import UNDETERMINED

# Universal Declaration of Human Rights, article 1
ARTICLE = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "cy": "Genir pawb yn rhydd ac yn gydradd â'i gilydd mewn urddas a hawliau.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "zh": "人人生而自由,在尊严和权利上一律平等。",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "gl": "Tódolos seres humanos nacen libres e iguais en dignidade e dereitos e deben comportarse fraternalmente.",
    "ne": "सबै मानिसहरू जन्मजात स्वतन्त्र हुन् र तिनीहरूको समान अधिकार र सम्मान हुन्छ।",
    "lb": "All Mënsch kënnt fräi an mat deer selwechter Dignitéit an deene selwechte Rechter op d'Welt.",
}


def test_sentences_are_identified() -> None:
    """Rows without a tag would be given to another language; the answers would be in another order than the texts."""
    assert identify_languages(list(ARTICLE.values())) == list(ARTICLE)
    assert identify_languages([*reversed(ARTICLE.values())]) == [*reversed(ARTICLE)]


@pytest.mark.parametrize(
    "text",
    ["", "stop", "12:30", "ok ok", "好", "git clone", "`turn off the light in the living room`", "\ud800", "\0" * 99,
     "https://example.org/turn/off/the/light/in/the/living/room", "Washington, Kuala Lumpur, Addis Ababa"],
)  # fmt: skip
def test_little_evidence_stays_undetermined(text) -> None:
    """`Stop`, a command or a list of names would become a language by chance, and odd characters would stop the run."""
    assert identify_languages([text]) == [UNDETERMINED]


# The same article in languages that the model does not know.
UNKNOWN = {
    "mi": "Ko te katoa o nga tangata i te whanaungatanga mai e watea ana i nga here katoa; e tauriterite ana hoki nga "
    "mana me nga tika.",
    "su": "Sakumna jalma gubrag ka alam dunya teh sifatna merdika jeung boga martabat katut hak-hak anu sarua.",
    "dv": "ހުރިހާ އިންސާނުން ވެސް އުފަންވަނީ، ދަރަޖަ އާއި ހައްގުތަކުގައި މިނިވަންކަމާއި ހަމަހަމަކަން ލިބިގެންވާ ބައެއްގެ ގޮތުގައެވެ.",
}


@pytest.mark.parametrize("tag", UNKNOWN)
def test_unknown_languages_get_no_neighbours_tag(tag) -> None:
    """Rows of the target's own language would count as another one's, in silence."""
    assert not can_identify(tag)
    assert identify_languages([UNKNOWN[tag]]) == [UNDETERMINED]


def test_what_an_unknown_language_reads_as_is_kept_back() -> None:
    """Asturian reads as Spanish with full evidence: rows that may be either would all be called Spanish."""
    spanish = "Apaga la luz de la cocina y cierra la puerta del salón cuando termines de cenar esta noche."
    assert identify_languages([spanish]) == ["es"]
    assert neighbours([spanish] * 9 + [ARTICLE["cy"]]) == ("cy", "es")
    assert neighbours([spanish] * 11 + [ARTICLE["cy"]]) == ("es",)
    assert neighbours(["stop"]) == ()
    assert identify_languages([spanish, ARTICLE["cy"]], reserved=("es",)) == [UNDETERMINED, "cy"]


def test_supported_languages() -> None:
    """The filter would judge tags that identification cannot know."""
    assert len(supported_languages()) > 130
    assert {"ne", "gl", "gd", "fy", "ug", "lb", "nb", "fil"} <= set(supported_languages())
    assert (identified_as("zh-TW"), identified_as("no"), identified_as("pt-BR")) == ("zh", "nb", "pt")
    assert not can_identify("kw")
    assert not can_identify("und")
