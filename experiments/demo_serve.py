"""A day of traffic in two languages: gateway, feedback, drift, update, canary, promotion, rollback, and the dashboard.

    make demo-serve        (python experiments/demo_serve.py --run runs/cy)

Every step is a command or a request that users have: `compass adapt`, `registry`, `serve`, `watch` and `update`, chat
requests, feedback, and the dashboard's pages. Users are made by the grammars of `assist`: they come in sessions about
one thing, more of them in the afternoon than at night, in Welsh and in Greek. From noon on half of the Welsh prompts
ask for four functions that the adapter was not made for, and users say what the right answer would have been. A day
takes minutes here; the clock of the gateway is the real one. Tests are small, and so are the claims.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
from browser_picture import browser, take_pictures
from demo_drift import explain, say, smaller_data, table
from replayed_day import GREEK, NOON, TOLD, WELSH, Heard, hours, stretch, stretches, traffic

from compass.data.example import Example
from compass.serve.keeper import ROWS_SECONDS
from compass.steps.history import NEEDED

TOLERANCE = 0.15


@dataclass
class Demo:
    """Where everything is, what runs, and what each part has cost."""

    options: argparse.Namespace
    work: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    costs: list[tuple[str, float, float]] = field(default_factory=list)
    address: str = ""

    @property
    def places(self) -> list[str]:
        """The options that say where the registry is."""
        return ["--registry-dir", str(self.work / "registry")]

    def compass(self, *arguments: str, may_end_with: Sequence[int] = (0,)) -> int:
        """Run a command of the product, and show it. Returns its exit code; ends the demo at one that is not listed."""
        print("$ compass " + " ".join(arguments), flush=True)
        code = subprocess.run([sys.executable, "-m", "compass.cli", *arguments]).returncode
        if code not in may_end_with:
            raise SystemExit(f"compass {arguments[0]} ended with exit code {code}.")
        return code

    def start(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command that stays; what it says goes to a file."""
        print("$ compass " + " ".join(arguments) + " &", flush=True)
        with log.open("wb") as file:
            command = [sys.executable, "-m", "compass.cli", *arguments]
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        self.running.append(process)
        return process

    @contextmanager
    def part(self, title: str) -> Iterator[None]:
        """Say what comes, and note its seconds and those of processors."""
        say(title)
        began, before = time.monotonic(), self._processor()
        yield
        self.costs.append((title, time.monotonic() - began, self._processor() - before))

    def _processor(self) -> float:
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        live = [psutil.Process(one.pid).cpu_times() for one in self.running if one.poll() is None]
        return sum(one.ru_utime + one.ru_stime for one in own) + sum(one.user + one.system for one in live)


def main() -> None:
    """Run the demo."""
    options = _arguments()
    work = Path(options.work).resolve()
    for name in ("registry", "serve", "watch", "update"):
        shutil.rmtree(work / name, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    demo, began = Demo(options, work), time.monotonic()
    try:
        _tell(demo)
    finally:
        for process in reversed(demo.running):
            process.terminate()
            process.wait()
    print(f"\n{time.monotonic() - began:.0f} s in all:")
    table(("part", "seconds", "of processors"), [(name, f"{s:.0f}", f"{cpu:.0f}") for name, s, cpu in demo.costs])


def _tell(demo: Demo) -> None:
    work, options = demo.work, demo.options
    with demo.part("1. Two adapters"):
        runs = {language: _adapter(demo, language) for language in (WELSH, GREEK)}
        for language, run in runs.items():
            demo.compass("registry", "add", str(run), *demo.places)
            demo.compass("registry", "promote", language, *demo.places)

    with demo.part("2. The gateway, and the loop that watches Welsh"):
        serve, watched = work / "serve", work / "watch.jsonl"
        common = [*demo.places, "--watch-dir", str(work / "watch"), "--reservoir", "full"]
        demo.start(
            work / "serve.log", "serve", *common, "--backend", "embedded", "--port", "0", "--serve-dir", str(serve),
            "--canary", f"{options.canary:.0%}",
        )  # fmt: skip
        demo.address = _address(work / "serve.log", demo.running[-1])
        _until(lambda: _get(demo, "/readyz").status_code == 200, 600, "the gateway is not ready")
        # Monitor only: the update waits in the canary here, where the loop itself would promote it at once.
        demo.start(
            watched, "watch", WELSH, str(serve / "prompts"), "--follow", "--json", *common, "--updates-per-day", "0",
            "--window", "100", "--monitor-batch-size", "50",
        )  # fmt: skip
        print(f"Look at it meanwhile: {demo.address}/dashboard/, with the key in {serve / 'dashboard.key'}")

    rng = random.Random("demo-serve")
    with demo.part("3. A day: steady until noon, then Welsh drifts"):
        noon, heard = _a_day(demo, rng)
        _show(heard)
        drift = _alarm(watched, options.patience)
        if drift and drift["explanation"]:
            explain(drift["explanation"])

    with demo.part("4. An update, made of what users asked and said since noon"):
        usage = work / "new-usage.jsonl"
        n = _asked_since(serve / "prompts", noon, usage)
        rows = serve / "rows" / WELSH
        _until(lambda: (rows / "test.jsonl").is_file(), 60, f"{rows} has no rows")
        time.sleep(ROWS_SECONDS + 1)
        counts = [_lines(rows / f"{part}.jsonl") for part in ("train", "test")]
        print(f"{n} prompts since noon; users' feedback gives {counts[0]} rows to train on and {counts[1]} to test on.")
        demo.compass(
            "update", str(runs[WELSH]), str(usage), "--new-data", str(rows / "train.jsonl"),
            "--new-test", str(rows / "test.jsonl"), "--output-dir", str(work / "update"), *_sizes(options),
        )  # fmt: skip
        demo.compass(
            "registry", "add", str(work / "update"), "--parent", "production", "--trigger", "drift", *demo.places
        )

    with demo.part(f"5. The next morning: a canary of {options.canary:.0%}"):
        _until(lambda: f"{WELSH}@2" in _get(demo, "/v1/models").text, 300, "the candidate is not loaded")
        heard = _replayed(demo, traffic(options.morning, rng, drifted=True), rng, tell=1.0)
        _show({"morning": heard})

    with demo.part("6. The gate, and the promotion"):
        gate = ["--tolerance", f"{TOLERANCE}"]
        if demo.compass("registry", "promote", WELSH, *demo.places, *gate, may_end_with=(0, 3, 1)):
            print("It was not promoted. To show what comes next, a person does it all the same:")
            demo.compass("registry", "promote", WELSH, "2", "--without-gate", "--reason", "to show it", *demo.places)
        print(f"{WELSH} means {WELSH}@2 after {_means(demo, 2):.1f} s.")

    with demo.part("7. Back again"):
        demo.compass("registry", "rollback", WELSH, "--reason", "the demo's end", *demo.places)
        print(f"{WELSH} means {WELSH}@1 after {_means(demo, 1):.1f} s, counted from the command's end.")

    with demo.part("8. The dashboard"):
        _pictures(demo)


def _adapter(demo: Demo, language: str) -> Path:
    """Return a finished run: that of `make demo`, one of an earlier demo, or a smaller one that is made now."""
    given, own = Path(demo.options.run), demo.work / f"run-{language}"
    if language == WELSH and all((given / name).is_file() for name in NEEDED):
        return given
    sources = smaller_data(demo.work / f"data-{language}", language, demo.options.pool_rows)
    demo.compass(
        "adapt", "--language", language, "--output-dir", str(own),
        "--model-name-or-path", demo.options.model_name_or_path, "--retention-tests", sources.pop("english"),
        *(part for name, file in sources.items() for part in (f"--{name}", file)), *_sizes(demo.options),
    )  # fmt: skip
    return own


def _sizes(options: argparse.Namespace) -> list[str]:
    values = {
        "budget": options.budget, "max-steps": options.steps, "max-new-tokens": options.max_new_tokens,
        "max-test-rows": options.rows, "max-retention-rows": options.rows,
    }  # fmt: skip
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def _a_day(demo: Demo, rng: random.Random) -> tuple[float, dict[str, Heard]]:
    """Replay a day; return when noon was, and what users got before and after it."""
    plan = hours(demo.options.prompts)
    heard = {"until noon": Heard(), "since noon": Heard()}
    asyncio.run(_half_a_day(demo, rng, plan[:NOON], 0, heard["until noon"]))
    noon = time.time()
    asyncio.run(_half_a_day(demo, rng, plan[NOON:], NOON, heard["since noon"]))
    return noon, heard


async def _half_a_day(demo: Demo, rng: random.Random, plan: Sequence[int], first: int, heard: Heard) -> None:
    """Replay the hours until noon or those since, and say what came in each. plan: prompts of each hour."""
    late = first == NOON
    pool, by_hour = traffic(sum(plan), rng, drifted=late), list[list[list[Example]]]()
    for hour, n in enumerate(plan):
        now = list[list[Example]]()
        while pool and (hour == len(plan) - 1 or sum(map(len, now)) < n):
            now.append(pool.pop())
        by_hour.append(now)
    got = stretches(demo.address, by_hour, rng, tell=TOLD if late else 0.0, longest=demo.options.max_new_tokens)
    hour = first
    async for of_hour in got:
        heard.add(of_hour)
        shares = ", ".join(f"{name} {k}" for name, k in sorted(of_hour.answers.items()))
        print(f"   {hour:02d}:00  {'#' * (sum(map(len, by_hour[hour - first])) // 2):30s} {shares}", flush=True)
        hour += 1


def _replayed(demo: Demo, of: Sequence[Sequence[Example]], rng: random.Random, *, tell: float) -> Heard:
    return asyncio.run(stretch(demo.address, of, rng, tell=tell, longest=demo.options.max_new_tokens))


def _show(heard: dict[str, Heard]) -> None:
    rows = [
        (when, version, str(n), f"{got.right[version] / n:.0%}", str(got.told), str(got.failed))
        for when, got in heard.items()
        for version, n in sorted(got.answers.items())
    ]
    table(("when", "who answered", "answers", "right", "feedback in all", "errors in all"), rows)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    def found() -> str:
        if process.poll() is not None:
            raise SystemExit(f"The gateway has ended:\n{log.read_text('utf-8', 'replace')[-2000:]}")
        match = re.search(r"Listening on (http://[\w.:]+)", log.read_text("utf-8", "replace"))
        return match[1] if match else ""

    _until(lambda: bool(found()), 600, "the gateway does not listen")
    return found()


def _get(demo: Demo, path: str) -> httpx.Response:
    return httpx.get(demo.address + path, timeout=60)


def _means(demo: Demo, version: int) -> float:
    """Return the seconds until `cy` is answered by a version."""
    began = time.monotonic()
    body = {"model": WELSH, "messages": [{"role": "user", "content": "helo"}], "max_tokens": 1, "store": False}
    url = f"{demo.address}/v1/chat/completions"

    def there() -> bool:
        return httpx.post(url, json=body, timeout=60).headers.get("x-compass-model") == f"{WELSH}@{version}"

    _until(there, 120, f"{WELSH} does not mean version {version}")
    return time.monotonic() - began


def _until(holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"After {seconds:.0f} s {otherwise}.")
        time.sleep(0.1)


def _alarm(log: Path, seconds: float) -> dict[str, Any] | None:
    """Return the first alarm of Welsh that the loop has told, once it has; None if it tells none in time."""
    end = time.monotonic() + seconds
    while True:
        if event := alarm_of(log.read_text("utf-8", "replace")):
            print(f"   {event['summary']}")
            return event
        if time.monotonic() > end:
            print(f"   The monitor has raised no alarm {seconds:.0f} s after the day's end.")
            return None
        time.sleep(0.2)


def alarm_of(told: str) -> dict[str, Any] | None:
    """Return the first alarm of Welsh among the lines of `compass watch --json`."""
    events = (json.loads(line) for line in told.splitlines() if line.startswith("{") and line.endswith("}"))
    return next((event for event in events if (event["event"], event.get("stream")) == ("drift", WELSH)), None)


def _asked_since(prompts: Path, since: float, target: Path) -> int:
    """Write the Welsh prompts that the gateway has handed on since a time; return how many."""
    rows = []
    for file in sorted(prompts.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line or "{}")
            if row.get("language") == WELSH and datetime.fromisoformat(row["timestamp"]).timestamp() >= since:
                rows.append({"prompt": row["prompt"], "language": WELSH})
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return len(rows)


def _lines(file: Path) -> int:
    return file.read_text("utf-8").count("\n") if file.is_file() else 0


def _pictures(demo: Demo) -> None:
    """Log in to the dashboard and take its picture, where there is a browser."""
    where = f"{demo.address}/dashboard"
    files = {f"{where}/": demo.work / "dashboard.png", f"{where}/{WELSH}": demo.work / f"dashboard-{WELSH}.png"}
    cookies = log_in(demo.address, (demo.work / "serve" / "dashboard.key").read_text("utf-8").strip())
    folders = ["--serve-dir", str(demo.work / "serve"), "--watch-dir", str(demo.work / "watch")]
    print("Look at it again: " + " ".join(["compass serve --backend embedded", *demo.places, *folders]))
    if not browser():
        print("No Chromium is on the path, or no playwright (pip install 'compass-peft[dev]'), so there is no picture.")
        return
    try:
        take_pictures(files, cookies)
    except OSError as error:
        print(f"No picture: {error}.")
        return
    print("Pictures of the dashboard: " + ", ".join(map(str, files.values())))


def log_in(address: str, key: str) -> dict[str, str]:
    """Log in to the dashboard; return its cookies."""
    with httpx.Client(base_url=address, timeout=60) as client:
        page = client.get("/dashboard/login").text
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        form = {"csrf": token[1] if token else "", "key": key}
        answer = client.post("/dashboard/login", data=form, headers={"Origin": address})
        if answer.status_code != 303:
            raise SystemExit(f"The dashboard does not take its key (status {answer.status_code}).")
        return dict(client.cookies)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", default="runs/cy", help="Welsh run that `make demo` left; else a smaller one is made.")
    parser.add_argument("--work", default="runs/serve", help="Folder of the demo.")
    parser.add_argument("--model_name_or_path", default="embedded:gemma3-270m", help="Base model of the runs.")
    parser.add_argument("--prompts", type=int, default=500, help="Prompts of the day.")
    parser.add_argument("--morning", type=int, default=150, help="Prompts of the morning with the canary.")
    parser.add_argument("--canary", type=float, default=0.3, help="Share of conversations that the candidate answers.")
    parser.add_argument("--rows", type=int, default=60, help="Rows of each test set, at most.")
    parser.add_argument("--budget", type=int, default=60, help="Rows that are picked from the pool.")
    parser.add_argument("--steps", type=int, default=40, help="Optimiser steps of each training.")
    parser.add_argument("--max_new_tokens", type=int, default=64, help="Longest answer of a test in tokens.")
    parser.add_argument("--pool_rows", type=int, default=1500, help="Pool rows of the smaller runs.")
    parser.add_argument("--patience", type=float, default=120, help="Seconds to wait for an alarm after the day.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
