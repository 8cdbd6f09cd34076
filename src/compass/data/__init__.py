"""Rows of text: the one record, readers and writers, language tags, cleaning, the embedded data set."""

from __future__ import annotations

from compass.data.example import Example, Message

__all__ = ["Example", "Message"]
