"""Tests of reading and cleaning: what is refused, held out, dropped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compass.config import AdaptConfig, DataConfig, load_options
from compass.data.cleaning import Cleaned
from compass.data.example import Example
from compass.data.untagged import with_identified_languages
from compass.errors import DataError, LanguageError
from compass.runs.folder import Run
from compass.steps.read import (
    clean,
    filled_in,
    read,
    read_data,
    resolve,
    source_identities,
)
from compass.steps.state import RunData


def _write(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def cleaned_data(config: DataConfig, seed: int) -> tuple[RunData, dict[str, Cleaned]]:
    """Read and clean without a run folder."""
    config = filled_in(config, seed)
    return clean(read(config, seed), config, seed)


def _files(folder: Path, *, usage_rows: int = 20) -> DataConfig:
    usage = [{"prompt": f"cwestiwn rhif {i}", "response": f"ateb {i}", "language": "cy"} for i in range(usage_rows)]
    current = [{"prompt": f"enghraifft {i}", "response": "iawn", "language": "cy"} for i in range(5)]
    pool = [
        {"prompt": f"an example of number {i} and more", "response": f"fine {i}", "language": "en"} for i in range(30)
    ]
    return DataConfig(
        language="cy",
        usage=_write(folder / "usage.jsonl", usage),
        train=(_write(folder / "current.jsonl", current),),
        pool=(_write(folder / "pool.jsonl", pool),),
        near_duplicates=1.0,
        identify_languages=False,
    )


def test_half_of_the_usage_is_held_out_when_no_test_is_named(tmp_path: Path) -> None:
    """A row on both sides would be measured on what it chose."""
    data, _ = cleaned_data(_files(tmp_path), 0)
    assert len(data.usage) == len(data.tests["cy"]) == 10
    assert not {row.prompt for row in data.usage} & {row.prompt for row in data.tests["cy"]}
    again, _ = cleaned_data(_files(tmp_path), 0)
    other, _ = cleaned_data(_files(tmp_path), 1)
    assert again.tests == data.tests
    assert other.tests != data.tests


def test_usage_is_also_held_out_beside_tests_of_other_languages(tmp_path: Path) -> None:
    """An English test alone would pass for the main one, and no Welsh would be measured."""
    english = _write(tmp_path / "en.jsonl", [{"prompt": "hello", "response": "x", "language": "en"}])
    data, _ = cleaned_data(replace(_files(tmp_path), retention_tests=(english,)), 0)
    assert {name: len(rows) for name, rows in data.tests.items()} == {"cy": 10, "en": 1}
    assert next(iter(data.tests)) == "cy"
    assert len(data.usage) == 10


def test_prompt_only_usage_selects_but_is_not_measured(tmp_path: Path) -> None:
    config = _files(tmp_path)
    _write(tmp_path / "usage.jsonl", [{"prompt": f"cwestiwn rhif {i}"} for i in range(12)])
    data, _ = cleaned_data(config, 0)
    assert (len(data.usage), dict(data.tests)) == (12, {})


def test_pool_rows_that_stand_in_the_test_are_dropped(tmp_path: Path) -> None:
    """A leaked test row would be picked first: nothing is closer to usage."""
    config = _files(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "pool.jsonl").read_text("utf-8").splitlines()]
    held_out = {row.prompt for row in cleaned_data(config, 0)[0].tests["cy"]}
    leaked = [{"prompt": prompt, "response": "x", "language": "en"} for prompt in sorted(held_out)]
    _write(tmp_path / "pool.jsonl", rows + leaked)
    data, cleaned = cleaned_data(config, 0)
    assert not held_out & {row.prompt for row in data.pool}
    assert sum(cleaned["pool"].counts.values()) == len(leaked)


def test_private_data_does_not_reach_the_run_folder(tmp_path: Path) -> None:
    """Redaction that forgets one of the sets is worse than none, and must be asked for."""
    config = _files(tmp_path)
    for name in ("usage", "current", "pool"):
        rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text("utf-8").splitlines()]
        _write(tmp_path / f"{name}.jsonl", [{**row, "prompt": f"{row['prompt']} jo@example.org"} for row in rows])

    def texts(name: str, config: DataConfig) -> str:
        read_data(Run(tmp_path / name), config, seed=0)
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        return "".join(path.read_text("utf-8") for path in files)

    assert "jo@example.org" in texts("as-it-is", config)
    told = texts("redacted", replace(config, redact=True))
    assert "jo@example.org" not in told
    assert told.count("[EMAIL]") == 20 + 5 + 30
    counts = json.loads((tmp_path / "redacted" / "data" / "cleaning.json").read_text("utf-8"))
    assert {name: row["redacted"] for name, row in counts.items()} == {
        "usage": 10, "current": 5, "pool": 30, "test cy": 10
    }  # fmt: skip


def test_too_small_a_usage_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="usage sample has 3 rows in cy, and at least 10"):
        cleaned_data(_files(tmp_path, usage_rows=3), 0)


def test_usage_in_another_language_is_refused_by_name(tmp_path: Path) -> None:
    config = _files(tmp_path)
    _write(tmp_path / "usage.jsonl", [{"prompt": f"question {i}", "language": "en"} for i in range(12)])
    with pytest.raises(DataError, match=r"no row in cy.*tagged en"):
        cleaned_data(config, 0)


def test_a_broken_line_and_an_unknown_language_are_named(tmp_path: Path) -> None:
    config = _files(tmp_path)
    with (tmp_path / "pool.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"prompt": "cut\n')
    with pytest.raises(DataError, match=r"pool\.jsonl.*31"):
        cleaned_data(config, 0)
    with pytest.raises(LanguageError, match="klingonese"):
        read_data(Run(tmp_path / "run"), DataConfig(language="klingonese"), seed=0)


def test_a_second_run_reads_the_cleaned_data_back(tmp_path: Path) -> None:
    """What is read back must be what was cleaned, or a resumed run differs from a whole one."""
    config, run = _files(tmp_path), Run(tmp_path / "run")
    first = read_data(run, config, seed=0)
    assert read_data(run, config, seed=0) == first
    log = (tmp_path / "run" / "logs" / "stages.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["skipped"] for line in log] == [False, True]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    config, run = _files(tmp_path), Run(tmp_path / "run")
    read_data(run, config, seed=0)
    _write(tmp_path / "current.jsonl", [{"prompt": "newydd", "response": "x"}])
    assert [row.prompt for row in read_data(run, config, seed=0).train] == ["newydd"]


def test_language_and_seed_stand_in_a_source_name(tmp_path: Path) -> None:
    """A grid of languages and seeds would need a configuration for each."""
    config = _files(tmp_path)
    (tmp_path / "usage.jsonl").rename(tmp_path / "usage-cy-3.jsonl")
    config = replace(config, language="CY", usage=str(tmp_path / "usage-{language}-{seed}.jsonl"))
    assert len(cleaned_data(config, 3)[0].usage) == 10
    assert read_data(Run(tmp_path / "run"), config, seed=3).usage == cleaned_data(config, 3)[0].usage
    hub = filled_in(DataConfig(language="sw", pool=("assist", "hub:a/b/{language}:dev{seed}"), test="{language}"), 2)
    assert (hub.pool, hub.test) == (("assist", "hub:a/b/sw:dev2"), "sw")


def test_a_test_of_several_languages_is_cut_to_the_target(tmp_path: Path) -> None:
    """The figure called cy would be the mean over all languages of the file."""
    rows = [
        {"prompt": f"prawf {i}", "response": "x", "language": language} for i in range(3) for language in ("cy", "en")
    ]
    rows += [{"prompt": "heb dag", "response": "x"}]
    config = replace(_files(tmp_path), test=_write(tmp_path / "test.jsonl", rows))
    assert [row.prompt for row in cleaned_data(config, 0)[0].tests["cy"]] == [
        "prawf 0",
        "prawf 1",
        "prawf 2",
        "heb dag",
    ]


def test_translations_of_test_rows_are_left_out_of_the_pool(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a parallel set the pool holds the test's own items in other languages, and their answers."""
    test = _write(tmp_path / "test.jsonl", [{"prompt": "prawf", "response": "x", "language": "cy", "parallel_id": "7"}])
    pool = [{"prompt": f"an example of number {i} and more", "response": "x", "language": "en", "parallel_id": str(i)}
            for i in range(30)]  # fmt: skip
    config = replace(_files(tmp_path), test=test)
    _write(tmp_path / "pool.jsonl", pool)
    data, cleaned = cleaned_data(config, 0)
    assert sorted(int(row.parallel_id) for row in data.pool) == [i for i in range(30) if i != 7]
    assert cleaned["pool"].counts == {"translation of a held-out row": 1}
    assert "1 rows of the pool are left out that translate a held-out row" in caplog.text
    aside = load_options(AdaptConfig, None, {"columns": ["pool.parallel_id="]}).data.columns
    apart, _ = cleaned_data(replace(config, columns=aside), 0)
    assert len(apart.pool) == 30
    welsh = [{**row, "language": "cy"} for row in pool]
    _write(tmp_path / "pool.jsonl", welsh)
    own, _ = cleaned_data(config, 0)
    assert len(own.pool) == 30, "a row of the test's own language is no translation of it"


def test_columns_are_mapped_for_one_set_alone(tmp_path: Path) -> None:
    """A pool whose columns have other names than the usage file's is the normal case, and could not be read."""
    config = _files(tmp_path)
    rows = [{"frage": f"wie viel ist {i} und mehr", "antwort": str(i), "language": "de"} for i in range(30)]
    _write(tmp_path / "pool.jsonl", rows)
    with pytest.raises(
        DataError, match=r"usage.jsonl: no column 'frage'.*pool.prompt=frage applies to the pool alone .*usage, train"
    ):
        cleaned_data(replace(config, columns={"prompt": "frage"}), 0)
    data, _ = cleaned_data(replace(config, columns={"pool.prompt": "frage", "pool.response": "antwort"}), 0)
    assert {row.language for row in data.pool} == {"de"}
    assert len(data.usage) == 10


def test_repeats_in_usage_are_frequencies(tmp_path: Path) -> None:
    """A prompt that is asked seven times as often would weigh as one, in the gap and in the monitor's reference."""
    config = _files(tmp_path)
    rows = [{"prompt": f"cwestiwn {i}", "response": "a", "language": "cy"} for i in range(8)]
    often = [{"prompt": "aml", "response": "a", "language": "cy"}] * 7
    config = replace(config, usage=_write(tmp_path / "u.jsonl", rows + often))
    tests = []
    for seed in range(4):
        data, _ = cleaned_data(config, seed)
        tests.append(data.tests["cy"])
        assert len(data.usage) + len(tests[-1]) == 15
        assert not {row.prompt for row in data.usage} & {row.prompt for row in tests[-1]}
    assert {sum(row.prompt == "aml" for row in test) for test in tests} == {0, 7}


def test_every_source_has_an_identity_of_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated run would go on with the data of before: a file below `~`, a split, an edit of the same size."""
    monkeypatch.setenv("HOME", str(tmp_path))
    usage, folder = tmp_path / "u.jsonl", tmp_path / "saved"
    folder.mkdir()
    usage.write_text("a", "utf-8")
    (folder / "x.arrow").write_text("a", "utf-8")
    config = DataConfig(language="cy", usage="~/u.jsonl", train=("none",), pool=(f"{folder}:train", str(folder)))
    before = source_identities(config)
    assert set(before) == {"~/u.jsonl", f"{folder}:train", str(folder)}
    usage.write_text("b", "utf-8")
    (folder / "x.arrow").write_text("b", "utf-8")
    after = source_identities(config)
    assert all(before[name] != after[name] for name in before)


def test_tests_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    """The lock would hash them as this run's."""
    config, run = _files(tmp_path), Run(tmp_path / "run")
    english = _write(tmp_path / "english.jsonl", [{"prompt": "hello there", "response": "x", "language": "en"}])
    read_data(run, replace(config, retention_tests=(english,)), seed=0)
    read_data(run, config, seed=0)
    assert [path.stem for path in (tmp_path / "run" / "data" / "tests").iterdir()] == ["cy"]


def test_the_setting_of_the_embedded_data_is_part_of_the_source(tmp_path: Path) -> None:
    """A run would read the default setting, or parts of two draws; or a folder of one setting would serve the other."""
    named = {"usage": "assist:disjoint", "train": ("assist:disjoint",), "pool": ("assist:disjoint",)}
    config = DataConfig(language="cy", identify_languages=False, near_duplicates=1.0, **named)
    disjoint, _ = cleaned_data(config, 0)
    skewed, _ = cleaned_data(DataConfig(language="cy", identify_languages=False, near_duplicates=1.0), 0)
    needed = {row.label for row in disjoint.usage}
    assert not needed & {row.label for row in disjoint.train}
    assert needed < {row.label for row in skewed.train}
    assert (disjoint.usage, disjoint.tests) == (skewed.usage, skewed.tests)
    with pytest.raises(DataError, match="assist and assist:disjoint name different settings"):
        cleaned_data(replace(config, usage="assist"), 0)


def test_a_tag_in_any_form_is_brought_into_the_normal_one() -> None:
    """`pt-br` would be another language than the `pt-BR` of its rows."""
    config = AdaptConfig(data=DataConfig(language="CYM"))
    assert resolve(config) == replace(config, data=replace(config.data, language="cy"))


def test_each_row_that_is_left_out_is_named_in_the_run_folder(tmp_path: Path) -> None:
    """Counts alone do not say which rows to mend, and a text in the list would be one more copy of it."""
    config = _files(tmp_path)
    called = {"prompt": "x", "response": [{"role": "assistant", "content": "", "tool_calls": [{}]}], "language": "en"}
    rows = [json.loads(line) for line in (tmp_path / "pool.jsonl").read_text("utf-8").splitlines()]
    rows += [{"prompt": "secret", "response": "", "language": "en", "id": "bare"}, called, rows[3]]
    _write(tmp_path / "pool.jsonl", rows)
    usage = [json.loads(line) for line in (tmp_path / "usage.jsonl").read_text("utf-8").splitlines()]
    _write(tmp_path / "usage.jsonl", [*usage, {"prompt": "guten Tag", "language": "de"}])
    _write(
        tmp_path / "current.jsonl", [{"prompt": " ", "response": "iawn"}, {"prompt": "enghraifft", "response": "iawn"}]
    )
    read_data(Run(tmp_path / "run"), config, seed=0)
    file = tmp_path / "run" / "data" / "dropped.jsonl"
    found = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [(row["set"], row["reason"], row["place"], row["id"]) for row in found if row["set"] == "usage"] == [
        ("usage", "other language", f"{tmp_path}/usage.jsonl, line 21", found[0]["id"])
    ]
    # By the option's name, which users know.
    assert [(row["reason"], row["place"].split(", ")[1]) for row in found if row["set"] == "train"] == [
        ("empty", "line 1")
    ]
    assert sorted((row["reason"], row["place"].split(", ")[1]) for row in found if row["set"] == "pool") == [
        ("duplicate", "line 33"), ("no response", "line 31"), ("tool calls", "line 32"),
    ]  # fmt: skip
    counted = json.loads((tmp_path / "run" / "data" / "cleaning.json").read_text())
    assert counted["pool"]["dropped"] == {"tool calls": 1, "no response": 1, "duplicate": 1}
    assert file.stat().st_mode & 0o077 == 0
    assert not [word for word in ("secret", "guten", "an example") if word in file.read_text("utf-8")]


def test_training_data_may_come_from_several_sources(tmp_path: Path) -> None:
    """Answers that come back would have to be pasted into the file of the training data, whose ids they may repeat."""
    config = _files(tmp_path)
    answers = [
        {"id": "a", "prompt": "cwestiwn rhif 1", "response": "un"},
        {"id": "b", "prompt": "arall", "response": ""},
    ]
    more = _write(tmp_path / "answers.jsonl", answers)
    config = replace(config, train=(*config.train, more))
    found = read(config, 0)
    assert [row.prompt for row in found.train] == [f"enghraifft {i}" for i in range(5)] + ["cwestiwn rhif 1", "arall"]
    assert len({row.id for row in found.train}) == 7
    assert more in source_identities(config)
    assert read(replace(config, train=("none",)), 0).train == []


def test_rows_of_an_unidentifiable_target_keep_no_neighbours_tag(caplog) -> None:
    """Untagged rows in the target's own language would count as its neighbour's, without a word."""
    maori = "Whakawetohia nga raiti o te ruma noho, ka kati i te tatau o te kihini i mua i te moe"
    english = "Turn off the lights in the living room and close the kitchen door before you go to bed"
    target = [Example("u", maori, "x", "mi"), Example("v", english, "x", "mi")]
    pool = [
        Example("1", english, "x"), Example("2", "Genir pawb yn rhydd ac yn gydradd mewn urddas a hawliau", "x"),
        Example("3", "stop", "x"), Example("4", "hello", "x", "en"),
    ]  # fmt: skip
    known = with_identified_languages(pool, target[1:], "en")
    assert [row.language for row in known] == ["en", "cy", "und", "en"]
    assert "does not know" not in caplog.text
    found = with_identified_languages(pool, target, "mi")
    assert [row.language for row in found] == ["und", "cy", "und", "en"]
    assert "does not know Māori (mi). Rows of the pool without a tag stay `und` where they read as en" in caplog.text


def test_training_data_of_which_cleaning_leaves_nothing_are_refused(tmp_path: Path) -> None:
    """With the same file for --train and --test, a model would be trained on picks alone, without a word."""
    config = _files(tmp_path)
    config = replace(config, test=config.train[0], train=config.train)
    with pytest.raises(DataError, match=r"nothing of the training data's 5 rows: .* Check --train and --test"):
        cleaned_data(config, 0)


def test_a_set_in_another_language_than_it_is_said_to_be_in_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file of another language would be adapted to, under this one's tag."""
    config = replace(_files(tmp_path), identify_languages=True)
    english = [{"prompt": f"turn on the light in the living room, please, number {i}"} for i in range(12)]
    welsh = [{"prompt": f"trowch y golau ymlaen yn yr ystafell fyw os gwelwch yn dda, rhif {i}"} for i in range(12)]
    for rows, said in ((welsh, False), (english, True)):
        caplog.clear()
        _write(tmp_path / "usage.jsonl", rows)
        cleaned_data(config, 0)
        assert (
            "12 of 12 rows of the usage sample read as another language (tagged cy, reads as en)" in caplog.text
        ) == said
