"""What is taken for private data, and what a row looks like without it."""

from __future__ import annotations

import json

import pytest

from compass.data.example import Example, Message
from compass.data.redaction import redact, redact_example

FOUND = [
    ("en", "mail jo.bloggs@example.co.uk please", "jo.bloggs", "[EMAIL]"),
    ("cy", "ffonia 029 2087 0000 i'r cyngor", "2087", "[PHONE]"),
    ("el", "πάρε τηλέφωνο στο +30 210 331 0392 τώρα", "331", "[PHONE]"),
    ("hi", "मुझे 098765 43210 पर फ़ोन करो", "98765", "[PHONE]"),
    ("en", "pay it to GB82 WEST 1234 5698 7654 32 today", "WEST", "[IBAN]"),
    ("de", "überweise an DE89370400440532013000 bitte", "37040044", "["),
    ("en", "my card is 4111 1111 1111 1111", "4111", "[CREDIT_CARD]"),
    ("zh", "服务器是192.168.10.24吗", "192.168", "[IP_ADDRESS]"),
]


@pytest.mark.parametrize(("language", "text", "secret", "mark"), FOUND)
def test_private_data_is_replaced(language, text, secret, mark):
    """Breaks if one kind of private data stays, or takes the text around it away."""
    cleaned = redact(text, language)
    assert secret not in cleaned
    assert mark in cleaned
    assert cleaned.split("[")[0] == text[: len(cleaned.split("[")[0])]


@pytest.mark.parametrize(
    "text", ["", "trowch y golau ymlaen", "set a timer for 10 minutes", "打开厨房的灯", "turn it to 21"]
)
def test_plain_prompts_stay_as_they_are(text):
    """Breaks if redaction eats commands: an update would be trained on holes."""
    assert redact(text, "en") == text


def test_unknown_languages_are_redacted_too():
    """Breaks if a tag without a region, or no tag, ends in an error: nothing would be kept, or something unredacted."""
    for language in ("und", "xx", "eo", "zh-Hans"):
        assert redact("write to a@b.org", language) == "write to [EMAIL]"


def test_every_text_of_a_row_is_redacted_and_nothing_else():
    """Breaks if private data stays in an earlier turn or in the answer, or if what is no text of the user changes."""
    turns = (Message("system", "You write for help@example.org."), Message("user", "helo"))
    row = Example("7", "write to a@b.org", "I wrote to a@b.org", "cy", "Mail", "logs/a@b.org.jsonl", turns)
    assert redact_example(row).to_dict() == row.to_dict() | {
        "prompt": "write to [EMAIL]",
        "response": "I wrote to [EMAIL]",
        "context": [
            {"role": "system", "content": "You write for [EMAIL]."},
            {"role": "user", "content": "helo"},
        ],
    }


@pytest.mark.parametrize(
    ("response", "redacted"),
    [
        ('{"intent": "Call", "to": "029 2087 0000"}', {"intent": "Call", "to": "[PHONE]"}),
        ('{"intent":"Call","to":2920870000,"n":2}', {"intent": "Call", "to": "[PHONE]", "n": 2}),
        ('[{"say": "\\"a@b.org\\"", "ok": true}]', [{"say": '"[EMAIL]"', "ok": True}]),
        ('{"minutes": 5, "at": -1.5e3}', {"minutes": 5, "at": -1500.0}),
    ],
)
def test_a_function_call_stays_json(response, redacted):
    """Breaks if a mark stands bare where a number was: the model would be taught calls that no program can read."""
    assert json.loads(redact_example(Example("1", "x", response, "cy")).response) == redacted


def test_what_only_looks_like_json_is_redacted_as_text():
    """Breaks if a brace at the start protects private data."""
    assert redact_example(Example("1", "x", "{ a@b.org", "cy")).response == "{ [EMAIL]"
