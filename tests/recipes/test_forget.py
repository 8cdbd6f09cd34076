"""`compass data forget`: a person's rows go everywhere they are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compass.config import ForgetOptions, load_options
from compass.data.feedback_rows import TEST, TRAIN, rows_file
from compass.drift.state import MonitorState, NewPrompt
from compass.errors import ConfigError
from compass.recipes.forget import forget
from compass.registry import Registry
from compass.serve.labelled import write_rows
from compass.serve.routing import conversation_hash
from compass.serve.store import DATABASE, Answer, Said, Store
from run_folders import write_run, write_space


@pytest.mark.parametrize("file", ["data/current.jsonl", "data/tests/cy.jsonl", "anchors/anchors.jsonl"])
def test_a_conversation_is_gone_everywhere(file: str, tmp_path: Path) -> None:
    """A person's texts would stay in one of the places, or another's be removed; or feedback count as prompts."""
    serve, watch = tmp_path / "serve", tmp_path / "watch"
    (serve / "prompts").mkdir(parents=True)
    mine, other = conversation_hash("mine"), conversation_hash("other")
    lines: list[dict[str, object]] = [{"prompt": f"prompt of {name}", "session": name} for name in (mine, other)]
    lines += [{"label_of": name, "correct": correct, "session": name} for name in (mine, other) for correct in (0, 1)]
    (serve / "prompts" / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    url = f"sqlite:///{serve / DATABASE}"
    store = Store(url)
    for name in (mine, other):
        content = {"prompt": f"prompt of {name}", "response": "r"}
        store.add([Answer(name, name, "", "cy", 1, False, 1.0, content)])
        store.say(Said(name, "", 1, None), 2.0)
    write_rows(serve, store.said)
    (watch / "cy").mkdir(parents=True)
    state = MonitorState(f"sqlite:///{watch / 'cy' / 'monitor.db'}", "watch-cy")
    state.begin("reference", {}, restart=False)
    kept = [NewPrompt(f"prompt of {name}", "cy", 0, "full", 1.0) for name in (mine, other)]
    state.write(
        prompts=2, streams={}, checks=[], events=[], kept=kept, reservoir_size=10, oldest=0.0, at=1.0, batch=None,
        position=None, skipped=(),
    )  # fmt: skip
    run = write_run(tmp_path / "run", write_space(tmp_path / "space"))
    (run / file).parent.mkdir(exist_ok=True)
    with (run / file).open("a") as rows:
        rows.write(json.dumps({"id": f"feedback/{mine}", "prompt": "cleaned", "response": "r"}) + "\n")
    registry = Registry(tmp_path / "registry")
    seen = registry.register(run)
    registry.register(write_run(tmp_path / "run2", tmp_path / "space", seed=1))
    options = load_options(
        ForgetOptions,
        None,
        {"serve_dir": str(serve), "watch_dir": str(watch), "registry_dir": str(tmp_path / "registry")},
    )

    done = forget("mine", options)
    assert (done.answers, done.prompts, done.feedback, done.kept) == (1, 1, 2, 1)
    assert done.versions == (f"cy {seen.id}",)
    left = (serve / "prompts" / "a.jsonl").read_text()
    assert mine not in left
    assert other in left
    assert [answer.id for answer in store.said()] == [other]
    files = [rows_file(serve, "cy", part) for part in (TRAIN, TEST)]
    texts = "".join(file.read_text() for file in files if file.is_file())
    assert mine not in texts
    assert other in texts
    assert [prompt.text for prompt in state.prompts("cy")] == [f"prompt of {other}"]
    again = forget(mine, options)
    assert (again.answers, again.prompts, again.feedback, again.kept) == (0, 0, 0, 0)
    store.close()
    state.close()


@pytest.mark.parametrize("missing", ["serve", "registry"])
def test_nothing_is_removed_where_a_folder_is_missing(tmp_path: Path, missing: str) -> None:
    """A typing error would say that nothing is kept, or remove the ids by which versions are found."""
    folders = {name: tmp_path / name for name in ("serve", "registry")}
    (folders["serve"] / "prompts").mkdir(parents=True)
    folders["registry"].mkdir()
    line = json.dumps({"prompt": "mine", "session": conversation_hash("mine")})
    (folders["serve"] / "prompts" / "a.jsonl").write_text(f"{line}\n")
    given = {f"{name}_dir": str(path) for name, path in folders.items()} | {f"{missing}_dir": str(tmp_path / "typo")}
    with pytest.raises(ConfigError, match=f"{missing}_dir: .*typo is not a folder, and nothing was removed"):
        forget("mine", load_options(ForgetOptions, None, given))
    assert "mine" in (folders["serve"] / "prompts" / "a.jsonl").read_text()
