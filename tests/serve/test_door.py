"""Keys, limits and back-pressure."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import httpx
import pytest

from compass.errors import ConfigError
from compass.registry import Registry
from compass.serve.answers import RefusedError
from compass.serve.app import make_app
from compass.serve.door import Bucket, Door
from compass.serve.keys import Key, Keys, read_keys
from model_servers import FakeVllm, make_gateway, settle

SHA = hashlib.sha256(b"secret").hexdigest()
CHAT = {"model": "cy", "messages": [{"role": "user", "content": "helo"}]}


def test_keys_of_the_environment_and_of_a_file(tmp_path: Path) -> None:
    """A key would not be found, or its limit not hold."""
    file = tmp_path / "keys.yaml"
    file.write_text(f"app: {{sha256: {SHA.upper()}, requests_per_minute: 60, concurrent: 2}}\n")
    keys = read_keys(str(file), {"COMPASS_SERVE_KEYS": f"other={'0' * 64}"})
    assert len(keys) == 2
    assert keys.find({"authorization": "Bearer secret"}) == Key("app", SHA, 60.0, 2)
    assert keys.find({"authorization": "Bearer wrong"}) is None
    assert keys.find({"authorization": "Basic secret"}) is None
    assert keys.find({}) is None


@pytest.mark.parametrize(
    ("content", "environment"),
    [("app: secret", ""), ("- app", ""), ("", ""), ("app: {sha256: 12}", ""), (f"app: {{sha256: {SHA}, rate: 3}}", ""),
     (f"app: {{sha256: {SHA}, concurrent: -1}}", ""), (f"app: {{sha256: {SHA}}}", f"app={SHA}"), (": [", ""),
     (f"app: {{sha256: {SHA}}}", "secret")],
)  # fmt: skip
def test_wrong_keys_are_named_without_their_value(tmp_path: Path, content: str, environment: str) -> None:
    """The gateway would start open, or a key stand in the log."""
    file = tmp_path / "keys.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as raised:
        read_keys(str(file), {"COMPASS_SERVE_KEYS": environment})
    assert SHA not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"app:\n  sha256: {SHA}\n web: [\n", r"keys\.yaml:3 is not valid YAML: .*expected <block end>"),
        (f"app:\n  sha256: *{SHA}\n", r"keys\.yaml:2 is not valid YAML: found undefined alias …\."),
        (f"app:\n  sha256: !{SHA} x\n", r"keys\.yaml:2 is not valid YAML: could not determine a constructor"),
        (f"app:\n  sha256: {SHA}\x01\n", r"keys\.yaml:2 is not valid YAML: special characters"),
        (b"app:\n  sha256: \xff\n", r"keys\.yaml:2 is not UTF-8"),
        ("app: " + "[" * 9999, "nested too deeply"),
    ],
)
def test_where_a_keys_file_is_broken_is_said_and_not_what_it_holds(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    """`ParserError` alone leaves to guess, in a file that nobody may paste into a ticket."""
    file = tmp_path / "keys.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=said) as raised:
        read_keys(str(file), {})
    assert SHA[:8] not in str(raised.value)
    with pytest.raises(ConfigError, match=r"none\.yaml can't be read \(No such file or directory\)"):
        read_keys(str(tmp_path / "none.yaml"), {})


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """The first of two clients would be locked out, or the key that was taken out still be let in, in silence."""
    file = tmp_path / "keys.yaml"
    file.write_text(f"app: {{sha256: {SHA}}}\nweb: {{sha256: {'1' * 64}}}\napp:\n  sha256: {'2' * 64}\n")
    with pytest.raises(ConfigError) as raised:
        read_keys(str(file), {})
    assert raised.value.problems == (f"{file}: the key 'app' is there twice, on lines 1 and 3; remove one",)
    file.write_text(f"app:\n  sha256: {SHA}\n  concurrent: 1\n  concurrent: 2\n")
    with pytest.raises(ConfigError, match="of the key 'app', 'concurrent' is there twice, on lines 3 and 4"):
        read_keys(str(file), {})


def test_every_problem_of_a_key_is_listed(tmp_path: Path) -> None:
    """Whoever mends the first would be refused again, once for each."""
    file = tmp_path / "keys.yaml"
    file.write_text("app: {sha256: 12, rate: 3, requests_per_minute: fast, concurrent: 1.5, dashboard: all}\n")
    with pytest.raises(ConfigError) as raised:
        read_keys(str(file), {})
    said = ("needs sha256", "has rate", "requests_per_minute of", "concurrent of", "dashboard of")
    assert len(raised.value.problems) == len(said)
    assert all(words in problem for words, problem in zip(said, raised.value.problems, strict=True))


def test_a_bucket_lets_through_its_rate() -> None:
    """A client would send as much as it likes, or be shut out for good."""
    now = 0.0
    bucket = Bucket(60.0, lambda: now)
    taken = [bucket.take() for _ in range(11)]
    assert taken[:10] == [0.0] * 10
    assert taken[10] == pytest.approx(1.0)
    now = 1.0
    assert bucket.take() == 0.0
    assert bucket.take() > 0
    now = 1000.0
    assert [bucket.take() for _ in range(11)][:10] == [0.0] * 10


def test_each_limit_has_its_answer() -> None:
    """A client would not know whether to wait, or its place would be lost for ever."""
    door = Door(most=2)
    key = Key("app", SHA, concurrent=1)
    with door.inside(key):
        with pytest.raises(RefusedError) as over, door.inside(key):
            pass
        assert (over.value.status, over.value.after) == (429, 1.0)
        with door.inside(Key("b", "")), pytest.raises(RefusedError) as full, door.inside(Key("c", "")):
            pass
        assert full.value.status == 503
    with door.inside(key):
        pass
    assert not door.running.total()


def test_the_gateway_asks_for_keys_and_gives_places_back(registry: Registry, servers: list[FakeVllm]) -> None:
    """Anybody could use the models, or each error would take a place for ever."""

    async def work() -> None:
        door = Door(Keys([Key("app", SHA)]), most=1, largest=1000, patience=0.5)
        gateway = make_gateway(registry, servers[:1], door=door)
        await settle(gateway)
        transport = httpx.ASGITransport(make_app(gateway))
        good = {"Authorization": "Bearer secret"}
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            for headers in ({}, {"Authorization": "Bearer x"}):
                response = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
                assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
                assert (await client.get("/v1/models", headers=headers)).status_code == 401
            assert (await client.get("/v1/models", headers=good)).status_code == 200

            async def chunks():  # type: ignore[no-untyped-def]
                for _ in range(100):
                    yield b" " * 100

            async def never():  # type: ignore[no-untyped-def]
                yield b"{"
                await asyncio.sleep(60)

            # The only place would be held for ever.
            late = await client.post("/v1/chat/completions", content=never(), headers=good)
            assert (late.status_code, late.json()["error"]["code"]) == (408, "body_timeout")
            for content in (b"x" * 1001, chunks()):
                response = await client.post("/v1/chat/completions", content=content, headers=good)
                assert response.status_code == 413
            servers[0].hold = asyncio.Event()
            running = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT, headers=good))
            while not servers[0].bodies:
                await asyncio.sleep(0.01)
            full = await client.post("/v1/chat/completions", json=CHAT, headers=good)
            assert (full.status_code, full.headers["retry-after"]) == (503, "1")
            servers[0].hold.set()
            assert (await running).status_code == 200
            for body in ({**CHAT, "stream": True}, {**CHAT, "model": "no"}, CHAT):
                await client.post("/v1/chat/completions", json=body, headers=good)
            assert not door.running.total()
            metrics = (await client.get("/metrics")).text
            for line in (
                'compass_requests_total{language="cy",status="200",version="1"} 3.0',
                'compass_refused_total{code="overloaded"} 1.0',
                'compass_refused_total{code="invalid_api_key"} 4.0',
                'compass_live_version{language="cy"} 1.0',
                'compass_backend_up{backend="http://server0"} 1.0',
                'compass_running{backend="http://server0"} 0.0',
            ):
                assert line in metrics
            assert "secret" not in metrics

    asyncio.run(asyncio.wait_for(work(), 30))
