"""Messages without secrets."""

from __future__ import annotations

import time

import pytest

from compass.sanitize import arguments_without_secrets, without_secrets

SECRET = "hemmelig"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://user:{SECRET}@host/db",
        f"postgresql://user:{SECRET}@host:5432/db?sslmode=require",
        f"postgresql://:{SECRET}@[::1]:5432/db",
        f"postgresql+psycopg://user:p@{SECRET}/w?x#y@host/db",
        f"mysql://user:a:{SECRET}:c@host",
        f"Could not parse 'x://user:{SECRET}@host:port/db'.",
        f"postgresql://host/db?user=u&password={SECRET}&x=1",
        f"http://host/v1?api_key={SECRET}",
        f"http://host/v1?token={SECRET}",
        f"connection failed: host=a password={SECRET} user=b",
        f"password='{SECRET} {SECRET}'",
        f'{{"api_key": "{SECRET}"}}',
        f"{{'password': '{SECRET} two'}}",
        f"Authorization: Bearer {SECRET}",
        f"https://{SECRET}@github.com/x",
        f"OPENAI_API_KEY={SECRET}",
        f"sk-proj-{SECRET}",
        f"hf_{SECRET}{SECRET}",
    ],
)
def test_secrets_are_not_shown(text: str) -> None:
    assert SECRET not in without_secrets(text)
    assert "***" in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "hub:owner/name/config@main:train",
        "postgresql://user@host/name",
        "sqlite:////var/lib/compass.db",
        "http://127.0.0.1:8000/v1 answered HTTP 401",
        "window: must be at least 1; got 0",
        "Write to someone@example.org",
        "columns: write ours=theirs, as in prompt=question",
        "max_new_tokens=64",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may quote the key that it was sent."""
    monkeypatch.setenv("COMPASS_API_KEY", f"{SECRET}-0\n")
    monkeypatch.setenv("SHORT_KEY", "the")
    assert without_secrets(f"the key {SECRET}-0 is wrong") == "the key *** is wrong"


def test_a_webhook_is_a_secret_as_a_whole() -> None:
    given = ["watch", "cy", "--webhook-url", f"https://h/{SECRET}", f"--webhook_url=https://h/{SECRET}", "--follow"]
    assert arguments_without_secrets(given) == [
        "watch", "cy", "--webhook-url", "***", "--webhook_url=***", "--follow"
    ]  # fmt: skip


@pytest.mark.parametrize("part", ["//a:", "password", "a.", "password='", "sk-", "https://a", "bearer "])
def test_long_messages_take_no_time(part: str) -> None:
    """A pattern that looks back at every character would hang on a message of a megabyte."""
    start = time.process_time()
    without_secrets(part * 10_000)
    assert time.process_time() - start < 2
