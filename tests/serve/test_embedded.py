"""Tests of the embedded backend, with a tiny model: what it answers, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from compass.data.example import Example
from compass.errors import ServeError
from compass.serve.body import read_body
from compass.serve.embedded import Embedded, _safe_length
from compass.serve.protocol import CHAT, COMPLETIONS, Backend, Call, LostError, UnknownAdapterError, UnreachableError
from compass.steps.lock import dtype_of
from compass.training import LanguageModel, mixed, resolve_model

STORED = Path(__file__).parents[1] / "fixtures" / "v0_1"
PROMPT = "golau ymlaen"


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trained adapter of version 0.1 beside its base model."""
    for name in ("run", "model"):
        shutil.copytree(STORED / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return Path("run", "adapter")


def run(adapter: Path, test: Callable[[Embedded], Awaitable[None]]) -> None:
    """Run a test with a backend that has `cy@1`, and close it."""

    async def all_of_it() -> None:
        backend: Backend = Embedded(dtype="float32")
        assert isinstance(backend, Embedded)
        try:
            await backend.load("cy@1", adapter)
            await asyncio.wait_for(test(backend), 120)
        finally:
            await backend.close()

    asyncio.run(all_of_it())


def call(path: str = CHAT, adapter: str = "cy@1", **fields: Any) -> Call:
    own = {"messages": [{"role": "user", "content": PROMPT}]} if path == CHAT else {"prompt": f"{PROMPT}\n"}
    body = {**own, "model": "auto", "max_tokens": 8, **fields}
    return Call(path, read_body(json.dumps(body).encode()), adapter)


async def answer(backend: Embedded, request: Call) -> tuple[int, bytes]:
    reply = await backend.forward(request)
    found = reply.status, b"".join([chunk async for chunk in reply.chunks])
    await reply.close()
    return found


async def whole(backend: Embedded, request: Call) -> dict[str, Any]:
    status, content = await answer(backend, request)
    assert status == 200, content
    return dict(json.loads(content))


def events(content: bytes) -> list[Any]:
    *found, last, end = content.decode().split("\n\n")
    assert (last, end) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in found]


def test_answers_are_those_of_the_runs_evaluation_in_both_calls(adapter: Path) -> None:
    """Another format, sampling by default or the base model's answer would not be what was measured."""
    base = resolve_model("model", cache_dir=adapter)
    rows = [Example(id="1", prompt=PROMPT, response="{}")]
    wanted = {
        name: LanguageModel(base, folder, dtype="float32").generate(rows, max_new_tokens=8, batch_size=1)[0]
        for name, folder in (("cy@1", adapter), ("", None))
    }

    async def test(backend: Embedded) -> None:
        for name in wanted:
            chat, plain = await asyncio.gather(
                whole(backend, call(CHAT, name, stop="\n")), whole(backend, call(COMPLETIONS, name, stop="\n"))
            )
            assert chat["choices"][0]["message"]["content"].strip() == wanted[name]
            assert plain["choices"][0]["text"].strip() == wanted[name]
            assert chat["model"] == (name or "model")
            assert chat["usage"]["total_tokens"] == chat["usage"]["prompt_tokens"] + chat["usage"]["completion_tokens"]
            assert chat["object"], plain["object"] == ("chat.completion", "text_completion")

    run(adapter, test)


def test_a_stream_says_the_same_piece_by_piece(adapter: Path) -> None:
    async def test(backend: Embedded) -> None:
        for path in (CHAT, COMPLETIONS):
            options = {"stream": True, "stream_options": {"include_usage": True}}
            reply = await backend.forward(call(path, **options))
            assert dict(reply.headers)["content-type"] == "text/event-stream"
            found = events(b"".join([chunk async for chunk in reply.chunks]))
            *pieces, last, counted = found
            own = await whole(backend, call(path))
            key = "delta" if path == CHAT else "text"
            texts = [piece["choices"][0][key] for piece in (*pieces, last)]
            said = "".join(t.get("content", "") if path == CHAT else t for t in texts)
            choice = own["choices"][0]
            assert said == (choice["message"]["content"] if path == CHAT else choice["text"])
            assert last["choices"][0]["finish_reason"] == choice["finish_reason"]
            assert counted["usage"] == own["usage"]
            assert len({piece["id"] for piece in found}) == 1

    run(adapter, test)


def test_requests_at_once_do_not_see_each_other(adapter: Path) -> None:
    """Several adapters, prompts and limits in one batch, and one that is loaded meanwhile."""

    async def test(backend: Embedded) -> None:
        requests = [call(CHAT, "cy@1"), call(COMPLETIONS, "", max_tokens=3), call(CHAT, "", temperature=0.0)]
        alone = [await whole(backend, request) for request in requests]
        together = await asyncio.gather(
            *(whole(backend, request) for request in requests * 3), backend.load("cy@2", adapter)
        )
        for i, found in enumerate(together[:-1]):
            assert found["choices"] == alone[i % 3]["choices"]
        assert set((await backend.list()).adapters) == {"cy@1", "cy@2"}
        two = await whole(backend, call(COMPLETIONS, prompt=[f"{PROMPT}\n", "x\n"]))
        assert [choice["index"] for choice in two["choices"]] == [0, 1]

    run(adapter, test)


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "reads text alone"),
        (CHAT, {"n": 2}, "n: the embedded backend does not support it"),
        (CHAT, {"max_tokens": 0}, "max_tokens: a whole number from 1 to 1048576, not '0'"),
        (CHAT, {"max_completion_tokens": None, "max_tokens": 0}, "max_tokens"),
        (CHAT, {"seed": 1.5}, "seed: a whole number from -9223372036854775808 to 9223372036854775807, not '1.5'"),
        (CHAT, {"temperature": 3}, "temperature: a number from 0 to 2, not '3'"),
        (CHAT, {"temperature": "hot"}, "temperature"),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 2000}]}, "tokens, and the model takes"),
        (COMPLETIONS, {"prompt": [10**9]}, "token ids go up to"),
        (COMPLETIONS, {"prompt": {}}, "prompt"),
        (COMPLETIONS, {"prompt": ["a", "\ud83d"]}, "prompt: character 0 is half of a surrogate pair"),
        (CHAT, {"messages": [{"role": "user", "content": "hi \ud83d"}]}, "messages: character 3 is half"),
        (COMPLETIONS, {"stop": 3}, "stop"),
    ],
)
def test_what_it_can_not_do_is_refused_and_the_next_is_answered(
    adapter: Path, path: str, fields: dict[str, Any], said: str
) -> None:
    async def test(backend: Embedded) -> None:
        status, content = await answer(backend, call(path, **fields))
        assert status == 400
        assert said in json.loads(content)["error"]["message"]
        await whole(backend, call(path))

    run(adapter, test)


def test_parts_of_text_and_unknown_fields_are_taken(adapter: Path) -> None:
    async def test(backend: Embedded) -> None:
        parts = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]
        one, other = await asyncio.gather(
            whole(backend, call(messages=parts, user="x", frequency_penalty=None)), whole(backend, call())
        )
        assert one["choices"] == other["choices"]

    run(adapter, test)


def test_adapters_come_and_go(adapter: Path, tmp_path: Path) -> None:
    """The gateway asks another backend where nothing was begun, and hears of an adapter that does not fit."""

    async def test(backend: Embedded) -> None:
        await backend.load("cy@1", adapter)
        with pytest.raises(UnknownAdapterError):
            await backend.forward(call(adapter="el@1"))
        with pytest.raises(ServeError, match="not an adapter folder"):
            await backend.load("el@1", tmp_path)
        await backend.unload("cy@1")
        await backend.unload("cy@1")
        assert await backend.list() == type(await backend.list())("model", {})
        await whole(backend, call(adapter=""))
        assert await backend.health()
        await backend.close()
        assert not await backend.health()
        with pytest.raises(ServeError):
            await backend.load("cy@1", adapter)

    run(adapter, test)

    async def empty() -> None:
        backend = Embedded()
        with pytest.raises(UnreachableError):
            await backend.forward(call(adapter=""))
        await backend.close()

    asyncio.run(empty())


def test_who_does_not_wait_for_a_load_ends_nothing(adapter: Path) -> None:
    """The gateway gives up a slow load and asks again: one adapter, and a thread that lives."""

    async def test(backend: Embedded) -> None:
        for turns in range(3):
            task = asyncio.create_task(backend.load("cy@2", adapter))
            for _ in range(turns):
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await backend.load("cy@2", adapter)
        assert backend._model is not None
        assert sorted(backend._model._names) == ["cy@1", "cy@2"]
        await whole(backend, call(adapter="cy@2"))

    run(adapter, test)


def test_requests_join_the_batch_that_runs(adapter: Path) -> None:
    """Each request that comes later would make every token of the others wait for one more run of the model."""

    async def test(backend: Embedded) -> None:
        await backend.load("cy@2", adapter)
        wanted = await whole(backend, call(adapter="cy@2"))
        first = await backend.forward(call(stream=True, max_tokens=400, ignore_eos=True))
        await anext(first.chunks)
        later = await backend.forward(call(adapter="cy@2", stream=True, max_tokens=400))
        await anext(later.chunks)
        assert len(backend._engine._batches) <= 1
        assert (await whole(backend, call(adapter="cy@2")))["choices"] == wanted["choices"]
        for reply in (first, later):
            await reply.close()
        await whole(backend, call())

    run(adapter, test)


def test_the_numbers_are_those_of_the_adapters_run(adapter: Path) -> None:
    """`auto` is bfloat16 on one machine and float32 on another: answers would not be those that were measured."""
    file = adapter.parent / "lock.json"
    lock = json.loads(file.read_text())
    for dtype in ("bfloat16", "float32"):
        file.write_text(json.dumps({**lock, "model": {**lock.get("model", {}), "dtype": dtype}}))
        assert dtype_of(adapter.parent) == dtype
    assert dtype_of(adapter.parent, "bfloat16") == "bfloat16"


def test_a_client_that_goes_ends_the_work_and_a_stop_breaks_off(adapter: Path) -> None:
    """Work for nobody would hold up the others; a server that stops must not leave a client waiting."""

    async def test(backend: Embedded) -> None:
        reply = await backend.forward(call(stream=True, max_tokens=10_000))
        await anext(reply.chunks)
        await reply.close()
        waiting = asyncio.create_task(backend.forward(call(adapter="", max_tokens=200)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await whole(backend, call())
        gate = threading.Event()
        backend._engine.run(gate.wait)
        waiting = asyncio.create_task(backend.forward(call(adapter="", max_tokens=200)))
        await asyncio.sleep(0)
        closing = asyncio.create_task(backend.close())
        while backend._engine.alive:
            await asyncio.sleep(0.01)
        gate.set()
        with pytest.raises(LostError):
            await waiting
        await closing

    run(adapter, test)


@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("abc", (), "abc"),
        ("ab\N{REPLACEMENT CHARACTER}", (), "ab"),
        ("abc<", ("<end>",), "abc"),
        ("abc<en", ("<end>",), "abc"),
        ("abc<enx", ("<end>",), "abc<enx"),
        ("abc\n", ("\n\n", "c\nd"), "ab"),
    ],
)
def test_nothing_is_shown_that_may_have_to_go(text: str, stops: tuple[str, ...], shown: str) -> None:
    """A client can't take back half a character, or the beginning of what ends the answer."""
    assert text[: _safe_length(text, stops)] == shown


@pytest.mark.parametrize("more", [{}, {"temperature": 1.0}])
def test_an_adapter_of_broken_weights_ends_its_own_answers_alone(
    adapter: Path, tmp_path: Path, more: dict[str, float]
) -> None:
    """A damaged candidate would break the answers of production, whose batch it shares."""
    broken = tmp_path / "broken" / "adapter"
    shutil.copytree(adapter, broken)
    weights = load_file(broken / "adapter_model.safetensors")
    save_file({name: tensor * 1e30 for name, tensor in weights.items()}, broken / "adapter_model.safetensors")

    async def test(backend: Embedded) -> None:
        alone = await whole(backend, call())
        await backend.load("cy@2", broken)
        asked = [answer(backend, call()), answer(backend, call(adapter="cy@2", **more)), answer(backend, call())]
        first, lost, second = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(lost, LostError)
        for found in (first, second):
            assert not isinstance(found, BaseException)
            assert json.loads(found[1])["choices"] == alone["choices"]

    run(adapter, test)


def test_the_other_prompts_of_a_request_that_failed_end_too(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take places in the batch for nobody, up to the last token."""
    real, rows = mixed._choose, []

    def fails_once(row: mixed.Row, logits: Any, generator: Any) -> int:
        rows.append(row)
        if len(rows) == 1:
            raise RuntimeError("no numbers")
        return real(row, logits, generator)

    monkeypatch.setattr(mixed, "_choose", fails_once)

    async def test(backend: Embedded) -> None:
        with pytest.raises(LostError):
            await answer(backend, call(COMPLETIONS, prompt=["a\n", "b\n"], max_tokens=200))
        while backend._engine._batches:
            await asyncio.sleep(0.01)
        assert len(rows) == 2

    run(adapter, test)
