"""A judge on a server, stood in for by one that answers by rule."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compass.config import EvaluationConfig, JudgeConfig
from compass.data.example import Example
from compass.errors import ConfigError, DataError, ModelError
from compass.evaluation import write_evaluation
from compass.evaluation.evaluate import Evaluation, assemble
from compass.evaluation.judge import Judge, judge_answers, plan, read_verdict
from compass.recipes.judge import judge_pairs, stored_pairs

ROWS = [Example(f"r{i}", f"request {i}", f"a response that is long {i}", "cy") for i in range(10)]


class Server:
    """Answers `/v1/chat/completions` by `rule`, a function of the request's text, and remembers what it was asked."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        self.rule = rule
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                outer.keys.append(self.headers["Authorization"])
                reply = outer.rule(body["messages"][1]["content"])
                content = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def prefers_good(text: str) -> str:
    """Prefer the answer with `good` in it, wherever it stands."""
    first = text.partition("<answer A>")[2].partition("</answer A>")[0]
    return "I say [[A]]" if "good" in first else "[[B]]"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(prefers_good)
    yield made
    made.close()


def evaluation(answers: list[str], rows: list[Example] = ROWS) -> Evaluation:
    return assemble(rows, answers, np.ones(len(rows)), np.ones(len(rows)), name="cy", language="cy",
                    config=EvaluationConfig(), seed=0)  # fmt: skip


BASE = evaluation(["bad"] * 9 + ["same"])
ADAPTER = evaluation(["good"] * 6 + ["bad "] * 3 + ["same"])


def test_the_better_answer_wins_wherever_it_stands(server: Server, tmp_path: Path) -> None:
    """An answer would win because it was shown first; rows that both answer alike would be paid for."""
    judge = Judge(server.url, "m", tmp_path / "verdicts.jsonl")
    takes = plan(judge, BASE, ADAPTER)
    assert (takes.rows, takes.same, takes.known, takes.requests) == (10, 4, 0, 12)
    assert 12 * 150 < takes.tokens < 12 * 400
    assert server.asked == []
    judged, sent = judge_answers(judge, BASE, ADAPTER, limit=100)
    assert sent == len(server.asked) == 12
    assert (judged.rows, judged.wins, judged.losses, judged.ties, judged.contradicted) == (10, 6, 0, 4, 0)
    assert judged.difference is not None
    assert judged.difference.interval.value == pytest.approx(0.6)
    assert judged.difference.interval.low > 0
    back, sent = judge_answers(judge, ADAPTER, BASE, limit=100)
    assert (back.losses, sent) == (6, 0), "the other way round both orders are known"


@pytest.mark.parametrize(
    ("rule", "counts"),
    [
        (lambda text: "[[A]]", (10, 0, 0, 10, 6, 0)),  # the position wins
        (lambda text: "C", (10, 0, 0, 10, 0, 0)),
        (lambda text: "[[C]]" if prefers_good(text) == "[[B]]" else "[[A]]", (10, 0, 0, 10, 6, 0)),
        (lambda text: "Both A and B have merits.", (4, 0, 0, 4, 0, 6)),
    ],
)
def test_a_judge_that_contradicts_itself_says_a_tie(
    server: Server, tmp_path: Path, rule: Callable[[str], str], counts: tuple[int, ...]
) -> None:
    """A judge's taste for a position, or its chatter, would count as a preference."""
    server.rule = rule
    done, _ = judge_answers(Judge(server.url, "m", tmp_path / "v.jsonl"), BASE, ADAPTER, limit=100)
    assert (done.rows, done.wins, done.losses, done.ties, done.contradicted, done.unreadable) == counts


def test_a_limit_is_kept_and_the_next_call_goes_on(server: Server, tmp_path: Path) -> None:
    """A judgement that was stopped would be paid for twice, or send more than was allowed."""
    verdicts = tmp_path / "v.jsonl"
    rows = []
    for limit in (5, 4, 100):
        done, sent = judge_answers(Judge(server.url, "m", verdicts), BASE, ADAPTER, limit=limit)
        assert sent <= limit
        rows.append((done.rows, done.left))
    assert rows == [(4, 6), (7, 3), (10, 0)]
    assert len(server.asked) == 12
    with verdicts.open("a") as file:
        file.write('{"key": "half of a li')
    again, sent = judge_answers(Judge(server.url, "other", verdicts), BASE, ADAPTER, limit=2)
    assert (again.rows, sent) == (2, 2), "another model is another judge"
    lines = verdicts.read_text("utf-8").splitlines()
    assert len(lines) == 12 + 1 + 2
    assert json.loads(lines[-2])["verdict"] in "AB"


def test_rows_that_cost_nothing_do_not_hide_who_wins(server: Server, tmp_path: Path) -> None:
    """Beyond the requests that are allowed, rows that both answer alike would count as ties and others not at all."""
    rows = [Example(f"r{i}", f"request {i}", f"a response that is long {i}", "cy") for i in range(200)]
    base, adapter = (evaluation(answers, rows) for answers in (["bad"] * 200, ["good", "bad"] * 100))
    done, sent = judge_answers(Judge(server.url, "m", tmp_path / "v.jsonl"), base, adapter, limit=40)
    assert (sent, done.wins, done.losses) == (40, 20, 0)
    assert (done.rows, done.left) == (done.wins + done.ties, 200 - done.rows)
    assert done.difference is not None
    assert done.difference.interval.low < 0.5 < done.difference.interval.high, "half of all rows are won"


def test_nothing_is_sent_without_a_number(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bill would come before the estimate."""
    monkeypatch.setenv("COMPASS_JUDGE_KEY", "secret-key")
    options = JudgeConfig(judge=server.url, judge_model="m")
    with caplog.at_level(logging.INFO):
        told = judge_pairs(options, {"cy": (BASE, ADAPTER)}, tmp_path)
    assert server.asked == []
    assert told.judged == ()
    assert "12 requests" in caplog.text
    done = judge_pairs(replace(options, judge_requests=12), {"cy": (BASE, ADAPTER)}, tmp_path)
    assert done.judged[0].wins == 6
    assert set(server.keys) == {"Bearer secret-key"}
    kept = "".join(path.read_text("utf-8") for path in done.folder.iterdir())
    assert "secret-key" not in kept + caplog.text
    assert json.loads((done.folder / "cy.json").read_text("utf-8"))["wins"] == 6
    assert {path.stat().st_mode & 0o777 for path in done.folder.iterdir()} == {0o600}


def test_a_server_that_fails_is_told_and_what_was_judged_is_kept(server: Server, tmp_path: Path) -> None:
    judge = Judge(server.url, "m", tmp_path / "v.jsonl", sleep=lambda _: None)
    judge_answers(judge, BASE, ADAPTER, limit=4)
    server.status = 404
    with pytest.raises(ModelError, match=r"answered HTTP 404.*judge_model"):
        judge_answers(judge, BASE, ADAPTER, limit=100)
    server.status = 500
    with pytest.raises(ModelError, match=r"in 8 attempts.*what was judged is kept"):
        judge_answers(judge, BASE, ADAPTER, limit=100)
    server.status = 200
    assert judge_answers(judge, BASE, ADAPTER, limit=100)[1] == 8
    with pytest.raises(ModelError, match="COMPASS_JUDGE_KEY"):
        Judge("http://user:password@host/v1", "m", tmp_path / "v.jsonl")


def test_stored_answers_of_one_folder_or_two(tmp_path: Path) -> None:
    """Strategies are compared by the adapters of two cells; without both sides there is nothing to judge."""
    for folder, model, content in (("a", "base", BASE), ("a", "adapter", ADAPTER), ("b", "adapter", BASE)):
        write_evaluation(content, tmp_path / folder / "eval" / model)
    one = stored_pairs([tmp_path / "a"])
    assert [evaluation.predictions[0] for evaluation in one["cy"]] == ["bad", "good"]
    two = stored_pairs([tmp_path / "a", tmp_path / "b"])
    assert [evaluation.predictions[0] for evaluation in two["cy"]] == ["good", "bad"]
    with pytest.raises(DataError, match="no stored answers of two models"):
        stored_pairs([tmp_path / "b"])
    with pytest.raises(ConfigError, match="got 3"):
        stored_pairs([tmp_path] * 3)
    other = evaluation(["bad"] * 10, [Example(f"s{i}", "p", "r", "cy") for i in range(10)])
    with pytest.raises(DataError, match="different rows"):
        plan(Judge("http://127.0.0.1:9", "m", tmp_path / "v.jsonl"), BASE, other)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [("[[A]]", "A"), (" b", "unreadable"), ("B.", "B"), ("[C]", "C"), ("not [[A]] but [[B]]", "B"), ("", "unreadable"),
     ("Answer A is fine", "unreadable")],
)  # fmt: skip
def test_verdicts_are_read_strictly(reply: str, verdict: str) -> None:
    assert read_verdict(reply) == verdict
