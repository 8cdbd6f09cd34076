"""A real LiteLLM proxy with the callback of docs/serve.md: `make test-litellm`. COMPASS_LITELLM: its command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from listening import listening
from model_servers import FakeVllm
from processes import wait_for

LITELLM = os.environ.get("COMPASS_LITELLM", "")
START_SECONDS = 900
"""Its imports take a quarter of a minute of a processor."""
KEY = "sk-" + "0123456789abcdef" * 2
MODELS = ("welsh", "greek", "base", "auto")
ROUTING = Path(__file__).parents[2] / "docs" / "serve.md"
pytestmark = pytest.mark.skipif(not LITELLM, reason="COMPASS_LITELLM names no litellm command; see make test-litellm")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Start a proxy with the documented `routing.py` before a server that answers with the model's name."""
    folder = tmp_path_factory.mktemp("litellm")
    server = FakeVllm(dict.fromkeys((f"own-{name}" for name in MODELS), "/adapter"))
    text = ROUTING.read_text("utf-8")
    begin = text.index("from compass.serve.litellm_callback import")
    (folder / "routing.py").write_text(text[begin : text.index("```", begin)])
    with listening(server.app()) as url, socket.socket() as free:
        models = "".join(
            f"  - model_name: {name}\n"
            f"    litellm_params: {{model: openai/own-{name}, api_base: {url}/v1, api_key: x}}\n"
            for name in MODELS
        )
        settings = f"litellm_settings:\n  callbacks: routing.router\ngeneral_settings:\n  master_key: {KEY}\n"
        (folder / "config.yaml").write_text(f"model_list:\n{models}{settings}")
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        source = Path(__file__).parents[2] / "src"
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [LITELLM, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
                cwd=folder, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(source), "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            )  # fmt: skip
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120, trust_env=False) as client:
            try:
                wait_for(lambda: alive(client, process, folder / "log"), START_SECONDS, every=0.5)
                yield client
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)


def alive(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text("utf-8")[-2000:]
    try:
        return client.get("/health/liveliness").is_success
    except httpx.HTTPError:
        return False


def answer(proxy: httpx.Client, text: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], **more}
    return proxy.post("/v1/chat/completions", json=body, headers=headers or {})


def who(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    said = str(response.json()["choices"][0]["message"]["content"])
    assert response.headers["x-litellm-model-group"] == said.removeprefix("own-")
    return said.removeprefix("own-")


WELSH = "Trowch y golau ymlaen yn y gegin os gwelwch yn dda"


def test_the_language_says_which_model_of_a_real_proxy_answers(proxy: httpx.Client) -> None:
    assert who(answer(proxy, WELSH)) == "welsh"
    assert who(answer(proxy, "Άναψε το φως στην κουζίνα, σε παρακαλώ")) == "greek"
    assert who(answer(proxy, "Please turn on the light in the kitchen")) == "base"
    assert who(answer(proxy, WELSH, model="greek")) == "greek"


def test_what_the_client_says_and_conversations_count(proxy: httpx.Client) -> None:
    assert who(answer(proxy, "ok", headers={"X-Compass-Language": "cy"})) == "welsh"
    assert who(answer(proxy, "ok", metadata={"language": "el"})) == "greek"
    named = {"X-Compass-Conversation": "c1"}
    assert who(answer(proxy, WELSH, headers=named)) == "welsh"
    assert who(answer(proxy, "ok 3", headers=named)) == "welsh"
    refused = answer(proxy, "ok", headers={"X-Compass-Language": "no language"})
    assert refused.status_code == 400
    assert "is not a language tag" in refused.text


def test_streams_and_plain_completions_are_routed(proxy: httpx.Client) -> None:
    assert "own-welsh" in answer(proxy, WELSH, stream=True).text
    plain = proxy.post("/v1/completions", json={"model": "auto", "prompt": WELSH})
    assert plain.json()["choices"][0]["text"] == "own-welsh"
