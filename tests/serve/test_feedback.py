"""What is kept of requests: prompts for the monitor, answers for feedback, and rows that feedback becomes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from compass.data.feedback_rows import TEST, TRAIN, is_held_out, rows_file
from compass.data.readers import read_jsonl
from compass.drift.sources import read_files
from compass.errors import MonitorError
from compass.registry import Registry
from compass.serve import keeper as keeper_module
from compass.serve import prompt_log
from compass.serve.app import make_app
from compass.serve.door import Door
from compass.serve.gateway import Gateway
from compass.serve.keeper import Keeper
from compass.serve.keys import Key, Keys
from compass.serve.labelled import split
from compass.serve.prompt_log import PromptLog
from compass.serve.routing import Route
from compass.serve.said import id_and_text
from compass.serve.store import Answer, Said, Store
from model_servers import FakeVllm, make_gateway, settle

WELSH = "Trowch y golau ymlaen yn y gegin, ffoniwch 0300 123 4567 neu ebostiwch x@example.com"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_log, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(keeper_module, "GATHER_SECONDS", 0.0)


@asynccontextmanager
async def client_of(gateway: Gateway, folder: Path, mode: str) -> AsyncIterator[httpx.AsyncClient]:
    keeper = Keeper(Store(f"sqlite:///{folder / 'serve.db'}"), folder, mode, retention_days=30)
    prompts = PromptLog(folder, mode, retention_days=30) if mode != "off" else None
    app = make_app(gateway, keeper=keeper, prompts=prompts)
    await settle(gateway)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            yield client
    finally:
        keeper.close()
        if prompts:
            prompts.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def chat(text: str = WELSH, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": text}], **more}


def counted(folder: Path) -> list[Any]:
    """Return what a monitor would read."""
    batches = read_files(folder / "prompts", {}, batch_size=100)
    found = [batch for batch in batches if batch]
    assert not any(batch.skipped for batch in found)
    return [record for batch in found for record in batch.records]


def test_prompts_reach_the_monitor_once_and_redacted(
    registry: Registry, servers: list[FakeVllm], tmp_path: Path
) -> None:
    """Prompts would be missed, counted twice with each tool call or error, or lie there with private data."""

    async def work() -> None:
        gateway = make_gateway(registry, servers[:1])
        async with client_of(gateway, tmp_path, "redacted") as client:
            post: Callable[[Any], Any] = lambda body: client.post("/v1/chat/completions", json=body)  # noqa: E731
            assert (await post(chat())).status_code == 200
            assert (await post(chat("Please turn on the light in the kitchen", stream=True))).status_code == 200
            await post(chat("ok"))
            await post(chat(store=False))
            tool = chat()
            tool["messages"] += [{"role": "assistant", "content": None}, {"role": "tool", "content": "1"}]
            await post(tool)
            servers[0].status = 500
            await post(chat())

    run(work())
    found = counted(tmp_path)
    assert [record.language for record in found] == ["cy", "en", "?"]
    assert [record.served for record in found] == ["cy", "und", "und"]
    assert "x@example.com" not in found[0].prompt
    assert "golau" in found[0].prompt
    assert (next((tmp_path / "prompts").iterdir()).stat().st_mode & 0o777) == 0o600


def test_a_forgotten_conversation_leaves_every_place_right(tmp_path: Path) -> None:
    """A prompt would stay, or others be counted twice or never after one was taken out."""
    folder = tmp_path / "prompts"
    folder.mkdir()
    header = b'{"compass": "prompts", "format": 1, "id": "x"}\n'
    lines = [json.dumps({"prompt": f"p{i}", "session": f"{i % 2:032x}"}).encode() + b"\n" for i in range(6)]
    file = folder / "a.jsonl"
    file.write_bytes(header + b"".join(lines[:3]))
    first = [batch for batch in read_files(folder, {}, batch_size=10) if batch]
    with file.open("ab") as out:
        out.write(b"".join(lines[3:]))
    size = file.stat().st_size
    assert prompt_log.forget(tmp_path, f"{0:032x}") == (3, 0, {"p0", "p2", "p4"})
    assert file.stat().st_size == size
    assert b"p0" not in file.read_bytes()
    assert first[0].position is not None
    rest = [batch for batch in read_files(folder, {"a.jsonl": first[0].position}, batch_size=10) if batch]
    assert [record.prompt for batch in rest for record in batch.records] == ["p3", "p5"]


def test_old_prompts_go(tmp_path: Path) -> None:
    """Prompts would be kept longer than was said."""
    now = time.time()
    log = PromptLog(tmp_path, "full", retention_days=1, clock=lambda: now + 3 * 86_400)
    log.close()
    old = log.folder / "20200101-x.jsonl"
    old.write_bytes(b"{}\n")
    again = PromptLog(tmp_path, "full", retention_days=1, clock=lambda: now + 3 * 86_400)
    again.close()
    assert not old.exists()


def test_a_full_disk_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts would be lost without a trace, or the thread end for good."""
    log = PromptLog(tmp_path, "full", retention_days=1)
    monkeypatch.setattr(log, "_open", _no_space)
    for text in ("a", "b"):
        log._queue.put((text, Route("cy", 1, spoken="cy"), "c", 0.0))
    log.close()
    assert dict(log.dropped) == {"can't be written (No space left on device)": 2}


def _no_space() -> None:
    raise OSError(28, "No space left on device")


def test_feedback_becomes_rows(registry: Registry, servers: list[FakeVllm], tmp_path: Path) -> None:
    """Corrections would be lost, given to another's answer, or trained on and tested on at once."""

    async def work() -> None:
        door = Door(Keys([Key("a", _sha("a")), Key("b", _sha("b"))]))
        gateway = make_gateway(registry, servers[:1], door=door)
        async with client_of(gateway, tmp_path, "full") as client:
            a, b = ({"Authorization": f"Bearer {name}"} for name in "ab")
            ids = []
            for number in range(12):
                headers = {**a, "X-Compass-Conversation": str(number)}
                body = chat(f"{WELSH} {number}", stream=number % 2 == 0)
                response = await client.post("/v1/chat/completions", json=body, headers=headers)
                ids.append(id_and_text(response.content, streamed=number % 2 == 0)[0])

            async def say(headers: dict[str, str], **said: object) -> int:
                return (await client.post("/v1/feedback", json=said, headers=headers)).status_code

            assert await say(b, id=ids[0], thumb="up") == 404
            assert await say(a, id="chatcmpl-x", thumb="up") == 404
            assert await say({}, id=ids[0], thumb="up") == 401
            for wrong in ({}, {"thumb": "yes"}, {"thumb": ["up"]}, {"correction": " "}, {"thumb": "up", "x": 1}):
                assert await say(a, id=ids[0], **wrong) == 400
            assert await say(a, id=3, thumb="up") == 400
            for id in ids[:10]:
                assert await say(a, id=id, thumb="down", correction=f"gwell {id}") == 200
            assert await say(a, id=ids[10], thumb="up") == 200
            assert await say(a, id=ids[11], thumb="down") == 200

    run(work())
    batches = [batch for batch in read_files(tmp_path / "prompts", {}, batch_size=100) if batch]
    labels = [label for batch in batches for label in batch.labels]
    assert not any(batch.skipped for batch in batches)
    assert [(label.language, label.version, label.loss) for label in labels] == [("cy", 1, 1.0)] * 10 + [
        ("cy", 1, 0.0), ("cy", 1, 1.0),
    ]  # fmt: skip
    assert len({label.of for label in labels}) == 12
    train, tests = (read_jsonl(rows_file(tmp_path, "cy", part)) for part in (TRAIN, TEST))
    assert len(train) + len(tests) == 11
    assert {row.language for row in (*train, *tests)} == {"cy"}
    assert all(row.response.startswith(("gwell", "cy@1")) for row in (*train, *tests))
    assert train[0].context[0].content == "S"
    assert not {row.prompt for row in train} & {row.prompt for row in tests}


def test_feedback_on_the_base_model_names_it_as_its_answer_did(
    registry: Registry, servers: list[FakeVllm], tmp_path: Path
) -> None:
    """The client would hear of a version that there is not, and the monitor of another language than before."""

    async def work() -> None:
        async with client_of(make_gateway(registry, servers[:1]), tmp_path, "full") as client:
            answer = await client.post("/v1/chat/completions", json=chat("Please turn on the light in the kitchen"))
            assert answer.headers["x-compass-model"] == "base"
            said = await client.post("/v1/feedback", json={"id": answer.json()["id"], "thumb": "up"})
            assert said.json()["model"] == "base"

    run(work())
    (file,) = (tmp_path / "prompts").glob("*.jsonl")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()[1:]]
    assert [line["served_language"] for line in lines] == ["und", "und"]


def test_what_is_held_out_stays_so() -> None:
    """A row would move from the tests to the training rows, and the gate see what was trained on."""
    names = [str(i) for i in range(2000)]
    held = [name for name in names if is_held_out(name)]
    assert 0.26 < len(held) / 2000 < 0.34
    assert [name for name in ("a", "b", "c", "d", "e", "f", "g") if is_held_out(name)] == ["d", "e", "f", "g"]
    out = next(name for name in names if is_held_out(name))
    kept = next(name for name in names if not is_held_out(name))
    answers = [
        Answer(str(i), conversation, "", "cy", 1, False, 0.0, {"prompt": prompt, "response": "r"}, 1, None)
        for i, (conversation, prompt) in enumerate(((kept, "same"), (kept, "own"), (out, "same")))
    ]
    train, tests = split(answers)
    assert ([row.prompt for row in train], [row.prompt for row in tests]) == (["own"], ["same"])


def test_without_texts_a_thumb_counts_and_a_correction_is_refused(
    registry: Registry, servers: list[FakeVllm], tmp_path: Path
) -> None:
    """Texts would be kept although nobody allowed it, or a candidate could not be judged."""

    async def work() -> None:
        async with client_of(make_gateway(registry, servers[:1]), tmp_path, "off") as client:
            response = await client.post("/v1/chat/completions", json=chat())
            id = response.json()["id"]
            assert (await client.post("/v1/feedback", json={"id": id, "thumb": "up"})).status_code == 200
            refused = await client.post("/v1/feedback", json={"id": id, "correction": "x"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_kept")

    run(work())
    assert b"golau" not in (tmp_path / "serve.db").read_bytes()
    assert not (tmp_path / "prompts").exists()
    assert not (tmp_path / "rows").exists()


def test_answers_are_deleted_in_time(tmp_path: Path) -> None:
    """Texts would be kept longer than was said; a conversation could not be forgotten."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    day = 86_400.0
    store.add([Answer(str(i), "c", "", "cy", 1, False, i * day, {"prompt": "p"}) for i in range(10)])
    store.add([Answer("0", "other", "", "cy", 9, False, 0.0, {})])
    for id in ("1", "8"):
        answer = store.say(Said(id, "", 1, None), 9 * day)
        assert answer is not None
        assert answer.version == 1
    store.purge(now=9.5 * day, retention_seconds=5 * day, texts=True)
    assert [answer.id for answer in store.said()] == ["8"]
    assert sorted(answer.id for answer in store.of("c")) == ["7", "8", "9"]
    store.forget("c")
    assert store.of("c") == []
    store.close()


class _Down:
    """A database that can't be used while it is down."""

    def __init__(self, store: Store) -> None:
        self.store, self.down = store, True

    def __getattr__(self, name: str) -> Any:
        if self.down and name != "close":
            raise MonitorError("The database of answers can't be used: it is down")
        return getattr(self.store, name)


def test_a_database_that_is_down_loses_no_answer(
    registry: Registry, servers: list[FakeVllm], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests would wait for it or fail, answers be lost, or the thread end with the first odd answer."""
    monkeypatch.setattr(keeper_module, "RETRY_SECONDS", 0.01)
    store = _Down(Store(f"sqlite:///{tmp_path / 'x.db'}"))
    keeper = Keeper(store, tmp_path, "off", retention_days=30)  # type: ignore[arg-type]

    async def work() -> None:
        gateway = make_gateway(registry, servers[:1])
        await settle(gateway)
        transport = httpx.ASGITransport(make_app(gateway, keeper=keeper))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            id = (await client.post("/v1/chat/completions", json=chat())).json()["id"]
            keeper._queue.put((None, 0.0))  # type: ignore[arg-type]
            said = {"id": id, "thumb": "up"}
            refused = await client.post("/v1/feedback", json=said)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            store.down = False
            assert (await client.post("/v1/feedback", json=said)).status_code == 200

    run(work())
    assert dict(keeper.dropped) == {"unexpected AttributeError": 1}
    keeper.close()


def test_ids_and_texts_of_answers() -> None:
    """Feedback would not find its answer; odd answers must be no errors."""
    stream = (
        b': ping\r\n\r\ndata: {"id":"a","choices":[{"index":0,"delta":{"role":"assistant"}}]}\r\n\r\n'
        b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"x"}},{"index":1,"delta":{"content":"no"}}]}\n\n'
        b'data: {"choices":[]}\n\ndata: {"choices":[{"index":0,"text":"y"}]}\n\ndata: {broken\n\ndata: [DONE]\n\n'
    )
    assert id_and_text(stream, streamed=True) == ("a", "xy")
    whole = b'{"id":"b","choices":[{"message":{"content":"z","tool_calls":[]}}]}'
    assert id_and_text(whole, streamed=False) == ("b", "z")
    assert id_and_text(b'{"id":"c","choices":[{"message":{"content":null}}]}', streamed=False) == ("c", "")
    for odd in (b"", b"[]", b"3", b'{"id":3,"choices":3}', b'{"choices":[3,{"delta":3}]}', b"\xff"):
        assert id_and_text(odd, streamed=False) == ("", "")


def _sha(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def test_the_first_word_on_a_conversation_stays_the_first(tmp_path: Path) -> None:
    """A thumb that is sent again would make a later word count in its place, and change what was tested before."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    store.add([Answer(id, "talk", "", "cy", 1, False, 10.0, {}) for id in "ab"])
    store.say(Said("a", "", 1, None), 20.0)
    store.say(Said("b", "", 0, None), 21.0)
    store.say(Said("a", "", 1, None), 22.0)
    assert store.outcomes("cy", (1, 2), 0.0) == [(1, True)]
    store.close()


def test_a_version_that_was_asked_for_by_name_has_no_part_in_the_comparison(
    registry: Registry, servers: list[FakeVllm], tmp_path: Path
) -> None:
    """Who asks for `cy@1` was not drawn: what they say would count as if both versions had had the same users."""

    async def work() -> None:
        async with client_of(make_gateway(registry, servers[:1]), tmp_path, "off") as client:
            for model, thumb in (("cy@1", "down"), ("cy", "up")):
                answer = await client.post("/v1/chat/completions", json=chat(f"helo {model}", model=model))
                await client.post("/v1/feedback", json={"id": answer.json()["id"], "thumb": thumb})

    run(work())
    store = Store(f"sqlite:///{tmp_path / 'serve.db'}")
    assert store.outcomes("cy", (1, 2), 0.0) == [(1, True)]
    store.close()


def test_a_database_of_before_names_were_kept_is_opened(tmp_path: Path) -> None:
    """No answer would be kept any more."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    Store(url).close()
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("ALTER TABLE compass_answers DROP COLUMN exact")
        database.execute("INSERT INTO compass_answers VALUES ('a', 'talk', '', 'cy', 1, 0, 10.0, '{}', 1, NULL, 20.0)")
    database.close()
    store = Store(url)
    store.add([Answer("b", "other", "", "cy", 2, True, 11.0, {})])
    store.say(Said("b", "", 0, None), 21.0)
    assert store.outcomes("cy", (1, 2), 0.0) == [(1, True), (2, False)]
    store.close()
