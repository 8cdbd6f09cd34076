"""What is taken for private data, and what a row looks like without it."""

from __future__ import annotations

import json
from pathlib import Path
from time import process_time

import pytest

from compass.data.example import Example, Message
from compass.data.redaction import redact, redact_example

SET = Path(__file__).with_name("redaction.jsonl")
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

FOUND = [
    ("en", "mail jo.bloggs@example.co.uk please", "jo.bloggs", "[EMAIL]"),
    ("cy", "ffonia 029 2087 0000 i'r cyngor", "2087", "[PHONE]"),
    ("el", "πάρε τηλέφωνο στο +30 210 331 0392 τώρα", "331", "[PHONE]"),
    ("hi", "मुझे 098765 43210 पर फ़ोन करो", "98765", "[PHONE]"),
    ("en", "pay it to GB82 WEST 1234 5698 7654 32 today", "WEST", "[IBAN]"),
    ("de", "überweise an DE89370400440532013000 bitte", "37040044", "["),
    ("en", "my card is 4111 1111 1111 1111", "4111", "[CREDIT_CARD]"),
    ("zh", "服务器是192.168.10.24吗", "192.168", "[IP_ADDRESS]"),
    ("en", "ping fe80::1ff:fe23:4567:890a please", "4567", "[IP_ADDRESS]"),
    ("en", "is [2001:db8::ff00:42:8329]:443 up", "8329", "[IP_ADDRESS]"),
    ("en", "my card is 4111.1111.1111.1111", "4111", "[CREDIT_CARD]"),
    ("ja", "カードは４１１１－１１１１－１１１１－１１１１です", "１１１１", "[CREDIT_CARD]"),
    ("ar", "بطاقتي ٤١١١ ١١١١ ١١١١ ١١١١", "١١١١", "[CREDIT_CARD]"),
    ("de", "schreib an jörg@größe.de", "größe", "[EMAIL]"),
    ("hi", "रवि@उदाहरण.भारत को लिखो", "उदाहरण", "[EMAIL]"),
    ("en", "jane at example dot com", "jane", "[EMAIL]"),
    ("es", "mi DNI es 12.345.678-Z", "345", "[NATIONAL_ID]"),
    ("fr", "mon numéro est 1 85 05 78 006 084 91", "084", "[NATIONAL_ID]"),
    ("it", "il mio codice è rssmra80a01h501u", "rssmra", "[NATIONAL_ID]"),
    ("en", "NI number AB 12 34 56 C", "34", "[NATIONAL_ID]"),
    ("pl", "mój PESEL to 44051401359", "4405", "[NATIONAL_ID]"),
    ("zh", "身份证号11010519491231002X", "1949", "[NATIONAL_ID]"),
    ("pt", "o CPF é 529.982.247-25", "982", "[NATIONAL_ID]"),
    ("en", "my passport is 533401372", "5334", "[NATIONAL_ID]"),
    ("en", "use sk-proj-abcdefghijklmnop1234 for it", "abcdef", "[SECRET]"),
    ("en", "is AKIAIOSFODNN7EXAMPLE leaked", "IOSFO", "[SECRET]"),
    ("en", f"decode {JWT}", "dozj", "[SECRET]"),
    ("en", "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----", "MIIE", "[SECRET]"),
    ("en", "clone https://jo:pa55w0rd@git.example.org/x", "pa55", "[SECRET]"),
    ("es", "la contraseña es Gato1234", "Gato", "[SECRET]"),
]


@pytest.mark.parametrize(("language", "text", "secret", "mark"), FOUND)
def test_private_data_is_replaced(language, text, secret, mark):
    """Breaks if one kind of private data stays, or takes the text around it away."""
    cleaned = redact(text, language)
    assert secret not in cleaned
    assert mark in cleaned
    assert cleaned.split("[")[0] == text[: len(cleaned.split("[")[0])]


PLAIN = [
    "", "trowch y golau ymlaen", "set a timer for 10 minutes", "打开厨房的灯", "turn it to 21", "100 200 300",
    "kernel version 6.1.0.32", "see section 4.2.1.3", "from 1998 to 2024", "2019/2020", "3/14/2026 at 10:30:45",
    "d41d8cd98f00b204e9800998ecf8427e", "550e8400-e29b-41d4-a716-446655440000", "ISBN 978-0-306-40615-7",
    "where is order 4155552671", "1250 + 3750 - 499", "51.5074, -0.1278", "48°51'29.6\"N", "21-15, 19-21, 15-13",
    "$1,234,567.89", "12 345 678 people", "std::vector<int>", "logo@2x.png", "react@18.2.0", "git@github.com:org/repo",
    "127.0.0.1 and ::1", "netmask 255.255.240.0", "password: required", "api_key = os.environ['KEY']",
    "call me at 10:30", "call 911",
    "call the function 1234567 times", "2026年5月3日10时30分", "1732876543", "tell me about 2125551234 + 1",
]  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
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


@pytest.mark.parametrize("half", ["develop", "report"])
def test_precision_and_recall(half):
    """Breaks if a kind of private data is found no more, or another kind of text is taken for it."""
    rows = [row for row in map(json.loads, SET.read_text("utf-8").splitlines()) if row["half"] == half]
    assert len(rows) == 200
    cleaned = [redact(row["text"], row["language"]) for row in rows]
    private = [row.get("private", "") for row in rows]
    found = sum(bool(item) and item not in text for item, text in zip(private, cleaned, strict=True))
    wrong = sum(not item and row["text"] != text for item, row, text in zip(private, rows, cleaned, strict=True))
    assert found / sum(map(bool, private)) >= 0.95
    assert found / (found + wrong) >= 0.9


FORMATS = [
    ("curl -u alice:hunter2Hunter https://api.example.com", "en", "curl -u [SECRET] https://api.example.com"),
    ("curl -u https://example.org:8080/path", "en", None),
    ("login with user bob password P@ssw0rd1", "en", "login with user bob password [SECRET]"),
    ("a senha é Gato#2024!", "pt", "a senha é [SECRET]"),
    ("パスワードはSakura#2024です", "ja", "パスワードは[SECRET]です"),
    ("비밀번호는 Kimchi!234 이에요", "ko", "비밀번호는 [SECRET] 이에요"),
    ("şifrem deniz34X!", "tr", "şifrem [SECRET]"),
    ("mitt lösenord är fika2024Kaka", "sv", "mitt lösenord är [SECRET]"),
    ("meu PIS é 120.56874.10-7", "pt", "meu PIS é [NATIONAL_ID]"),
    ("btw-nummer NL123456782B90", "nl", "btw-nummer [NATIONAL_ID]"),
    ("NIP firmy 526-104-08-28", "pl", "NIP firmy [NATIONAL_ID]"),
    ("dowód osobisty ABA300000", "pl", "dowód osobisty [NATIONAL_ID]"),
    ("konto 61 1090 1014 0000 0712 1981 2874", "pl", "konto [IBAN]"),
    ("マイナンバーは1234 5678 9018です", "ja", "マイナンバーは[NATIONAL_ID]です"),
    ("사업자등록번호 124-81-00998", "ko", "사업자등록번호 [NATIONAL_ID]"),
    ("T.C. no: 12345678950", "tr", "T.C. no: [NATIONAL_ID]"),
    ("organisationsnummer 556036-0793", "sv", "organisationsnummer [NATIONAL_ID]"),
    ("CEP 01310-100, São Paulo", "pt", None),
    ("processo 0001234-56.2023.8.26.0100", "pt", None),
    ("3,980円の商品番号 4901234567894", "ja", None),
    ("password Windows11 reset guide", "en", None),
    ("pin 2:30pm meeting", "en", None),
    ("la clave del éxito: trabajo", "es", None),
    ("mi DNI es importante", "es", None),
]


@pytest.mark.parametrize(("text", "language", "cleaned"), FORMATS, ids=[text for text, _, _ in FORMATS])
def test_public_formats_of_other_languages(text, language, cleaned):
    """Breaks if a format that a country publishes stays, or another number or word goes (None: all of it stays)."""
    assert redact(text, language) == (cleaned or text)


def test_what_stands_around_private_data_stays():
    """Breaks if words beside an address or number go with it, or two finds in one place leave half of it."""
    text = "请写信到wang@lizi.cn问，或打13812345678，IBAN GB82WEST12345698765432 now"
    assert redact(text, "zh") == "请写信到[EMAIL]问，或打[PHONE]，IBAN [IBAN] now"
    assert redact("a https://u:p4ss@db.example.org/x", "en") == "a https://[SECRET]@db.example.org/x"


@pytest.mark.parametrize(
    "text",
    ["1" * 8000, "123 456 789 " * 600, "a." * 4000, "eyJ" * 2600, "A" * 8000, "ab:" * 2600, "'a " * 2600, "é́" * 4000],
    ids=["digits", "groups", "dots", "token", "letters", "colons", "quotes", "marks"],
)
def test_hostile_texts_take_no_time(text):
    """Breaks if a text makes a pattern try every start against every end: a minute for a row, and a stalled monitor."""
    began = process_time()
    redact(text, "en")
    assert process_time() - began < 10
