"""Options in files and flags, whatever they say: options, or one message that names what is wrong."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from compass.cli import main
from compass.config import AdaptConfig, dump_config, load_options
from compass.config.loading import COMMANDS, all_options, load_stored
from fuzzing import damaged, fuzz, in_time, json_values, raw, refused_or_fine, texts

OPTIONS = sorted(all_options())
SECTIONS = sorted({option.section for option in all_options().values()})
COMMAND_LINES = (
    ["registry", "list"], ["registry", "promote", "cy"], ["registry", "show", "cy"], ["monitor", "no"], ["report"],
    ["watch", "cy"], ["strategies"], ["update", "no", "no"], ["nothing"], [],
)  # fmt: skip
VALID = dump_config(AdaptConfig()).encode()


@fuzz(60, share=0.1)
@given(data=st.data())
def test_an_options_file(data: st.DataObject) -> None:
    names = st.sampled_from(OPTIONS) | st.sampled_from(SECTIONS) | texts
    some = st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=3), max_size=4)
    how = data.draw(st.sampled_from(("options", "json", "damaged", "raw")))
    if how == "options":
        content = yaml.safe_dump(data.draw(some), allow_unicode=True).encode("utf-8", "surrogatepass")
    elif how == "json":
        content = json.dumps(data.draw(some)).encode()
    else:
        content = damaged(data, VALID) if how == "damaged" else data.draw(raw)
    kind = data.draw(st.sampled_from(COMMANDS))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compass.yaml"
        path.write_bytes(content)
        with refused_or_fine():
            load_options(kind, path)
        with refused_or_fine():
            config = load_stored(path, allow_endpoint=data.draw(texts))
            path.write_text(dump_config(config), encoding="utf-8")
            assert load_options(AdaptConfig, path) == config


@fuzz(40, share=0.05)
@given(data=st.data())
def test_overrides(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(COMMANDS))
    given_options = data.draw(st.dictionaries(st.sampled_from(OPTIONS) | texts, json_values, max_size=4))
    with refused_or_fine():
        load_options(kind, None, given_options)


@fuzz(20, share=0.05)
@given(data=st.data())
def test_a_command_line(
    data: st.DataObject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The last resort is a message too, but one that asks for a report: what a user writes must not come to it."""
    monkeypatch.chdir(tmp_path)
    flags = [f"--{name.replace('_', '-')}" for name in OPTIONS]
    parts = st.sampled_from(flags) | texts | st.builds("{}={}".format, st.sampled_from(flags), texts)
    arguments = data.draw(st.lists(parts.filter(lambda part: part != "--debug"), max_size=5))
    with in_time(), pytest.raises(SystemExit) as ended:
        main([*data.draw(st.sampled_from(COMMAND_LINES)), *arguments])
    said = capsys.readouterr()
    assert ended.value.code in (0, 1, 2, 3), said.err
    assert "Traceback" not in said.err + said.out
