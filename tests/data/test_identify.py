"""Identification answers where it can, and says `und` where it cannot."""

from __future__ import annotations

import pytest

from compass.data.identify import can_identify, identified_as, identify_languages, neighbours, supported_languages
from compass.data.languages import UNDETERMINED
from compass.data.prose import without_code_lines

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


PASTED = {
    "python": "import os\n\ndef main(argv):\n    with open(argv[1]) as f:\n        print(f.read())\n\nmain(sys.argv)",
    "c": '#include <stdio.h>\nint main(void) {\n  printf("hello");\n  return 0;\n}',
    "sql": "SELECT name, count(*) FROM users\nWHERE created_at > '2024-01-01'\nGROUP BY name;",
    "html": '<div class="box">\n  <p>Some text here that is in English</p>\n</div>',
    "css": "body {\n  font-family: sans-serif;\n  background-color: white;\n}",
    "settings": "services:\n  web:\n    image: nginx\n    environment:\n      MODE: test",
    "trace": 'Traceback (most recent call last):\n  File "main.py", line 3\nModuleNotFoundError: No module named x',
    "log": "2024-05-01 12:00:01 ERROR connection to the database failed\n2024-05-01 12:00:02 WARN retrying in 5 s",
    "comments": "# Read the settings from the file first of all\nconfig = load(path)\n// then start the server",
}


@pytest.mark.parametrize("code", PASTED.values(), ids=PASTED)
def test_pasted_code_does_not_decide(code: str) -> None:
    """A question in Welsh about a program or its error would be one in English."""
    questions = ["Pam nad yw hyn yn gweithio ar fy nghyfrifiadur?", "Γιατί δεν δουλεύει αυτό στον υπολογιστή μου;"]
    assert identify_languages([f"{question}\n\n{code}" for question in questions]) == ["cy", "el"]
    assert identify_languages([f"{code}\n{question}" for question in questions]) == ["cy", "el"]


@pytest.mark.parametrize(
    "text",
    [
        "Wofür steht x = 3 in dieser Rechnung, wenn ich y = 2 schon eingesetzt habe?\nA. Für die Zeit\nB. Für den Weg",
        "Liste:\n- Milch (fettarm)\n- Brot\n* Käse aus der Schweiz",
        "# Überschrift\nEin Absatz darunter, der etwas erklärt.",
        "x = 1\ny = 2;",
        "Nur eine Zeile; mit Zeichen == drin.",
    ],
)
def test_lines_of_prose_stay_and_code_alone_does_too(text: str) -> None:
    """A question with formulas, a list or a heading would lose what tells its language."""
    assert without_code_lines(text) == text
