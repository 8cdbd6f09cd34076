"""The authors' files: wording, books and words."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from compass.errors import DataError
from compass.evaluation.lm_eval.local_tasks import Record

DICTIONARIES = {
    "cs": "Czech", "da": "Danish", "de": "German", "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French",
    "hi": "Hindi", "hu": "Hungarian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sr": "Serbian", "st": "Sesotho",
    "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""Folders of the authors' dictionaries."""

SENTENCE_END = re.compile(r"(?<=[。！？])|(?<=[.?!।۔؟])\s+")


def find_data(source: Path) -> Path:
    """Return the folder that holds `prompt`, `books` and `vocab`. Raises DataError if there is none."""
    for place in (source, source / "data", source / "OneRuler" / "data"):
        if (place / "prompt").is_dir():
            return place
    raise DataError(
        f"{source} has no OneRuler data (folders prompt, books, vocab). Clone github.com/mungg/OneRuler and give its "
        "folder."
    )


class Material:
    """The authors' files, read when they are needed."""

    def __init__(self, folder: Path) -> None:
        """Look at what languages there are. folder: as `find_data` returns it."""
        self.folder = folder
        self.languages = tuple(sorted(path.name for path in (folder / "prompt").iterdir() if path.is_dir()))
        self._words: dict[str, list[str]] = {}
        self._sentences: dict[str, list[str]] = {}

    def prompts(self, language: str) -> Record:
        """Return the wording of the needle tasks."""
        content: Record = json.loads(self._read(f"prompt/{language}/niah.txt"))
        return content

    def word_prompt(self, language: str) -> str:
        """Return the wording of the word-list tasks."""
        return self._read(f"prompt/{language}/cwe.txt")

    def nouns(self, language: str) -> list[str]:
        """Return the hundred nouns that serve as keys."""
        lines = csv.DictReader(self._read("vocab/100_noun_list_translated.tsv").splitlines(), delimiter="\t")
        found = [str(line.get(language) or "").strip() for line in lines]
        return sorted({noun for noun in found if noun})

    def words(self, language: str) -> list[str]:
        """Return nouns, adjectives and verbs for word lists; the hundred nouns where there is no dictionary."""
        if language not in self._words:
            self._words[language] = self._dictionary(language)
        return self._words[language]

    def _dictionary(self, language: str) -> list[str]:
        name = DICTIONARIES.get(language, "")
        path = self.folder / "vocab" / "dictionaries" / name / f"{name}.csv"
        if not name or not path.is_file():
            return self.nouns(language)
        with path.open(encoding="utf-8", newline="") as file:
            lines = [(str(line.get("words") or "").strip(), line.get("pos")) for line in csv.DictReader(file)]
        kept = {word for word, kind in lines if word and kind in ("noun", "adjective", "verb")}
        return sorted(word for word in kept if not re.search(r"\d", word))

    def sentences(self, language: str) -> list[str]:
        """Return the book in sentences."""
        if language not in self._sentences:
            books = sorted((self.folder / "books" / language).glob("*.txt"))
            if not books:
                raise DataError(
                    f"{self.folder / 'books' / language} has no book. Needle tasks hide their needles in one."
                )
            text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in books)
            parts = SENTENCE_END.split(re.sub(r"\s+", " ", text).strip())
            self._sentences[language] = [part.strip() for part in parts if part.strip()]
        return self._sentences[language]

    def closing_tag(self, variant: str, language: str) -> str:
        """Return what ends an answer."""
        text = self.word_prompt(language) if variant.startswith("cwe") else self.prompts(language)["answer_numbers"]
        tags: list[str] = re.findall(r"</[^<>]+>", text)
        return tags[-1] if tags else "</Answer>"

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"{self.folder / name} can't be read: {error.strerror}. It is part of OneRuler.") from error
