"""Tiny base models, one with a chat template, and rows to train them on."""

from __future__ import annotations

import pytest

from compass.data.example import Example
from compass.training.models import BaseModel
from tiny_model import make_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"))
    return BaseModel(str(folder), str(folder), "local", "")


@pytest.fixture(scope="session")
def chat(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    template = (
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant: {% endif %}"
    )
    folder = make_tiny_model(tmp_path_factory.mktemp("chat"), chat_template=template)
    return BaseModel(str(folder), str(folder), "local", "")


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    words = ("golau", "amserydd", "बत्ती", "灯", "lampe")
    return [
        Example(id=str(i), prompt=f"{words[i % 5]} {i}", response=f'{{"intent":"T{i % 3}","n":{i}}}', language="cy")
        for i in range(24)
    ]
