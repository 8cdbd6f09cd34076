"""Remove what is kept of one conversation: read `forget` top to bottom."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compass.config import ForgetOptions
from compass.data.redaction import redact
from compass.drift.reservoir import storable
from compass.drift.state import forget_prompts
from compass.drift.tables import database_in
from compass.errors import ConfigError, MissingExtraError
from compass.registry import Registry
from compass.runs import layout
from compass.serve.labelled import ID, write_rows
from compass.serve.prompt_log import forget as forget_logged
from compass.serve.routing import conversation_hash
from compass.serve.store import DATABASE, Store
from compass.steps.watch_state import MONITOR_FILE

logger = logging.getLogger(__name__)

ROWS_OF_A_RUN = ("data/*.jsonl", f"{layout.TESTS}/*.jsonl", "selection/*.jsonl", layout.ANCHOR_ROWS)
"""Where a run folder has rows of text."""


@dataclass(frozen=True)
class Forgotten:
    """What was removed of a conversation, and what can't be."""

    answers: int
    """Answers with what was said of them."""
    prompts: int
    """Prompts in the log for the monitor."""
    feedback: int
    """Lines of that log that say what the user thought of an answer."""
    kept: int
    """Prompts that monitors kept for the next update."""
    versions: tuple[str, ...]
    """Versions that were trained or tested on rows of it, as `cy v0003-...`."""
    updates: tuple[str, ...]
    """Folders of updates in progress that hold rows of it."""

    @property
    def anything(self) -> bool:
        """Whether anything was found."""
        return any((self.answers, self.prompts, self.feedback, self.kept, self.versions, self.updates))


def forget(conversation: str, options: ForgetOptions) -> Forgotten:
    """Remove a conversation's rows from answers, prompts, training rows and monitors; say which versions saw them.

    conversation: as the client named it, or the hash in the header `X-Compass-Conversation` of its answers. Raises
    MonitorError if a database can't be used; the same call then goes on. Raises ConfigError, and removes nothing, if
    a folder to look in is not there: what is removed first would be missing when it is looked for elsewhere.
    """
    _check_places(options)
    serve_dir = Path(options.serve.serve_dir)
    names = {conversation_hash(conversation), conversation}
    own = serve_dir / DATABASE
    watched = sorted(Path(options.watch.watch_dir).glob(f"*/{MONITOR_FILE}"))
    shared = [options.monitor.database] if options.monitor.database else []
    monitors = [*shared, *map(database_in, watched)]

    # 1. What is to be looked for elsewhere: the texts as they were kept, and the ids of their rows. Nothing is deleted
    # yet, so that a run that is broken off finds them again.
    texts: set[tuple[str, str]] = set()
    ids: set[str] = set()
    url = options.monitor.database or (database_in(own) if own.is_file() else "")
    store = Store(url) if url else None
    answers = [answer for name in sorted(names) for answer in (store.of(name) if store else ())]
    for answer in answers:
        ids.add(ID + answer.id)
        texts.add((answer.content.get("prompt", ""), answer.language))
    texts |= {(prompt, "und") for name in names for prompt in forget_logged(serve_dir, name, dry_run=True).texts}
    forms = _forms(texts)

    # 2. Versions that saw them, and updates on their way.
    registry = Registry(Path(options.registry.registry_dir))
    versions = tuple(
        f"{language} {version.id}"
        for language in registry.languages()
        for version in registry.versions(language)
        if _holds(version.folder, ids, forms)
    )
    works = sorted(Path(options.watch.watch_dir).glob("*/update-*/run"))
    updates = tuple(str(work.parent) for work in works if _holds(work, ids, forms))

    # 3. Away with them.
    kept = sum(forget_prompts(url, forms) for url in monitors)
    logged = [forget_logged(serve_dir, name) for name in sorted(names)]
    if store:
        try:
            for name in sorted(names):
                store.forget(name)
            write_rows(serve_dir, store.said)
        finally:
            store.close()
    prompts, feedback = sum(lines.prompts for lines in logged), sum(lines.feedback for lines in logged)
    return Forgotten(len(answers), prompts, feedback, kept, versions, updates)


def _check_places(options: ForgetOptions) -> None:
    places = {
        "serve_dir": (options.serve.serve_dir, "name the gateway's folder"),
        "registry_dir": (options.registry.registry_dir, "name the folder of the registry"),
    }
    problems = [
        f"{name}: {given} is not a folder, and nothing was removed: {what}"
        for name, (given, what) in places.items()
        if not Path(given).is_dir()
    ]
    if problems:
        raise ConfigError(problems)
    if not Path(options.watch.watch_dir).is_dir() and not options.monitor.database:
        logger.warning("watch_dir: %s is not a folder, so no monitor's prompts are searched", options.watch.watch_dir)


def _forms(texts: set[tuple[str, str]]) -> frozenset[str]:
    """Return the forms in which texts may be kept: as they are, and with private data replaced."""
    found = {text for text, _ in texts if text.strip()}
    # Without its packages nothing here could redact either.
    with contextlib.suppress(MissingExtraError):
        found |= {storable(redact(text, language)) for text, language in texts if text.strip()}
    return frozenset(found)


def _holds(folder: Path, ids: set[str], texts: frozenset[str]) -> bool:
    return any(str(row.get("id")) in ids or str(row.get("prompt")) in texts for row in _rows(folder))


def _rows(folder: Path) -> Iterator[dict[str, object]]:
    for pattern in ROWS_OF_A_RUN:
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                for line in file:
                    try:
                        row = json.loads(line)
                    except ValueError:
                        continue
                    if isinstance(row, dict):
                        yield row
