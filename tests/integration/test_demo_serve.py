"""The demo of serving, whole, on a tiny random model; and the users that it makes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from compass.registry import Registry
from forked import run_script
from listening import listening
from small_data import Files
from tiny_model import make_tiny_model

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import demo_serve  # noqa: E402
import replayed_day  # noqa: E402


def test_a_day_has_its_hours() -> None:
    """Without a cycle the demo would show the monitor nothing of real traffic."""
    plan = replayed_day.hours(500)
    assert sum(plan) == 500
    assert plan.index(max(plan)) == replayed_day.BUSIEST
    assert min(plan) < 0.25 * max(plan)


def test_users_come_in_sessions_about_one_thing() -> None:
    """Single prompts would be the easy case; half of the drifted Welsh ones ask for what the adapter lacks."""
    of = replayed_day.traffic(500, random.Random(0), drifted=True)
    assert all(len({row.label for row in one}) == 1 for one in of)
    rows = [row for one in of for row in one]
    assert 3.0 < len(rows) / len(of) < 5.0
    welsh = [row for row in rows if row.language == replayed_day.WELSH]
    assert (len(rows), len(welsh)) == (500, 400)
    assert sum(row.label in replayed_day.NEW_INTENTS for row in welsh) == 200


def test_the_alarm_is_that_of_welsh() -> None:
    """Greek prompts change the mix of languages at once, long before anything drifts."""
    mix, welsh = (
        {"event": "drift", "stream": stream, "summary": stream, "explanation": None} for stream in ("*", "cy")
    )
    log = "\n".join(["INFO reference: started", json.dumps(mix), '{"event": "drift", "str'])
    assert demo_serve.alarm_of(log) is None
    assert demo_serve.alarm_of(f"{json.dumps(mix)}\n{json.dumps(welsh)}\n") == welsh


@pytest.mark.integration
def test_the_demo_runs_to_its_pictures(files: Files, tmp_path: Path) -> None:
    """Would break if a command, an option, a path or a page that the demo uses is gone."""
    sizes = {"prompts": 60, "morning": 20, "rows": 20, "budget": 16, "steps": 1, "max_new_tokens": 4, "pool_rows": 150,
             "patience": 0, "canary": 0.5}  # fmt: skip
    model = make_tiny_model(tmp_path / "model")
    options = ["--run", str(tmp_path / "none"), "--work", str(tmp_path / "serve")]
    options += ["--model_name_or_path", str(model), *(part for k, v in sizes.items() for part in (f"--{k}", str(v)))]
    environment = {**os.environ, "COMPASS_CACHE": str(files.cache), "HF_HUB_OFFLINE": "1"}
    done = run_script(EXPERIMENTS / "demo_serve.py", options, environment, tmp_path)
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-2000:]
    assert "cy means cy@2 after" in done.stdout
    assert "cy means cy@1 after" in done.stdout
    registry = Registry(tmp_path / "serve" / "registry")
    first, second = registry.versions("cy")
    assert second.parent == first.id
    assert registry.aliases("cy").current == first.id
    assert [move.action for move in registry.history("cy")][-2:] == ["promote", "rollback"]
    rows = (tmp_path / "serve" / "serve" / "rows" / "cy" / "test.jsonl").read_text("utf-8").splitlines()
    assert all(json.loads(row)["language"] == "cy" for row in rows)
    if "Pictures of the dashboard" in done.stdout:
        assert (tmp_path / "serve" / "dashboard.png").read_bytes().startswith(b"\x89PNG")


def test_an_hour_begins_while_the_last_sessions_of_the_one_before_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Every hour's longest session would be waited for, or a prompt lost between two hours."""
    app, asked = FastAPI(), Counter[str]()

    @app.post("/v1/chat/completions")
    async def answer(request: Request) -> JSONResponse:
        prompt = (await request.json())["messages"][0]["content"]
        asked[prompt] += 1
        # One prompt takes long: nobody but its own session waits for it.
        await asyncio.sleep(0.1 if asked.total() == 1 else 0)
        order.append(prompt)
        choice = {"message": {"role": "assistant", "content": "na"}}
        return JSONResponse({"id": str(asked.total()), "choices": [choice]}, headers={"x-compass-model": "cy@1"})

    order: list[str] = []
    heard = replayed_day.Heard()
    with listening(app) as address:
        demo = demo_serve.Demo(Namespace(max_new_tokens=4), Path(), address=address)
        plan = [10] * replayed_day.NOON
        asyncio.run(demo_serve._half_a_day(demo, random.Random(0), plan, 0, heard))
    assert heard.answers == {"cy@1": sum(plan)}
    assert asked.total() == sum(plan)
    assert order.index(next(iter(asked))) > plan[0]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"{hour:02d}:00" for hour in range(replayed_day.NOON)]
