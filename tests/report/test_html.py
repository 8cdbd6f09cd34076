"""The page as text: safe, self-contained, repeatable."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from compass.errors import RunError
from compass.records import Cluster
from compass.report import build_report
from compass.report.html import render
from compass.report.load import Run
from compass.report.sections.provenance import _course
from compass.runs import layout


class Page(HTMLParser):
    """What a browser would find: tags with attributes, text outside scripts, and the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def source(run_folder: Path) -> str:
    return build_report(run_folder).read_text("utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_texts_cannot_break_out(page: Page) -> None:
    """Would break if a text reached the page unescaped: its tags would be elements, its script end would end one."""
    assert not [tag for tag, _ in page.tags if tag in ("img", "b")]
    assert "</script><b>x</b><img src=x" in page.text
    assert "{{ 7*7 }}" in page.text
    for script in page.scripts[:-2]:
        assert set(json.loads(script)) == {"data", "layout"}
        assert "<" not in script


def test_labels_of_figures_are_text_and_no_markup(page: Page) -> None:
    """Would break if plotly were given a raw text: it turns <a href> and <b> of its labels into elements."""
    labels: list[str] = []

    def strings(value: object) -> None:
        if isinstance(value, str):
            labels.append(value)
        elif isinstance(value, dict):
            for key, item in value.items():
                # The templates of hover boxes are ours.
                if key not in ("hovertemplate", "texttemplate"):
                    strings(item)
        elif isinstance(value, list):
            for item in value:
                strings(item)

    for script in page.scripts[:-2]:
        strings(json.loads(script))
    assert any("&lt;/script&gt;" in label for label in labels)
    assert not [label for label in labels if "<" in label.replace("<br>", "")]


def test_the_page_asks_for_nothing(page: Page, source: str) -> None:
    """Would break if the page linked a font, an image or a script, or if its policy let it fetch one."""
    assert not [a for _, a in page.tags if re.match(r"(https?:)?//", a.get("src") or a.get("href") or "")]
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "'unsafe-inline'" not in policy.split("script-src")[1]
    assert "url(" not in source.split("<style>")[1].split("</style>")[0]


def test_the_same_folder_gives_the_same_bytes(run_folder: Path) -> None:
    """Would break with a time, a random id or an unordered set in the page."""
    first = build_report(run_folder).read_bytes()
    assert build_report(run_folder).read_bytes() == first
    assert len(first) < 8_000_000
    assert not (run_folder / "report.html.part").exists()


def test_every_text_says_its_language_and_finds_its_direction(page: Page) -> None:
    """Would break if Arabic and Hebrew were set from left to right or read out with an English voice."""
    languages = {a["lang"] for tag, a in page.tags if tag == "td" and a.get("dir") == "auto" and a.get("lang")}
    assert {"ar", "he", "hi", "zh-CN", "cy"} <= languages


def test_sections_come_in_their_order_and_can_be_reached(page: Page) -> None:
    """Would break if a section were lost, moved, or missing from the bar at the top."""
    ids = [a["id"] for tag, a in page.tags if tag == "section"]
    assert ids == [
        "summary", "need", "map", "picked", "label", "training", "results", "answers", "fertility", "dropped",
        "diagnostics", "cost", "reproduce",
    ]  # fmt: skip
    links = [a["href"] for tag, a in page.tags if tag == "a" and a.get("class") != "skip"]
    assert links == [f"#{i}" for i in ids]
    every = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(every) == len(set(every))


def test_the_prompts_to_label_next_come_with_what_each_stands_for(page: Page, run_folder: Path) -> None:
    """Would break if the list, its curve or its notes were lost, or a prompt showed where texts are left out."""
    assert "Label these next" in page.text
    assert "with all 6 answers it is 80 %. After the first 4, an answer covers less than one more usage" in page.text
    assert "2 of 120 usage prompts have a response already and are not listed." in page.text
    assert "1 Gosod amserydd am bum munud 0 9 25 % 40 %" in page.text.replace("\u00a0", " ")
    bare = Page(build_report(run_folder, include_texts=False).read_text("utf-8"))
    assert "Label these next" in bare.text
    assert "Gosod amserydd am bum munud" not in bare.text


def test_a_training_that_ended_too_early_is_told(run_folder: Path) -> None:
    """On function calls two more epochs brought twelve points, and nothing said that the first two were too few."""
    path = run_folder / "training" / "result.json"
    result = json.loads(path.read_text("utf-8"))
    for loss, learned in ((3.48, False), (0.35, True)):
        path.write_text(json.dumps({**result, "response_loss": loss}), "utf-8")
        text = Page(build_report(run_folder).read_text("utf-8")).text
        assert f"Loss of a response in the last epoch, nats {loss}" in text
        assert ("The training rows were not learned yet" in text) is not learned


def test_rows_with_private_data_are_counted(page: Page) -> None:
    """Would break if the reader were not told that what he reads is not what users wrote."""
    assert "In 5 other rows it replaced private data by placeholders." in page.text
    assert "Private data replaced" in page.text


def test_rows_that_are_too_long_are_counted(selected_folder: Path) -> None:
    sets = {"current": {"rows": 5, "places": [], "ids": []}, "pool": {"rows": 9, "places": [1, 2], "ids": ["a", "b"]}}
    (selected_folder / "data" / "lengths.json").write_text(json.dumps({"inputs": {}, "sets": sets}), "utf-8")
    page = build_report(selected_folder).read_text("utf-8")
    assert "Longer than max_length, and left out as well: 2 of pool." in page
    sets["current"]["places"] = [4]
    (selected_folder / "data" / "lengths.json").write_text(json.dumps({"inputs": {}, "sets": sets}), "utf-8")
    text = Page(build_report(selected_folder).read_text("utf-8")).text
    assert "left out as well: 1 of training data, 2 of pool" in text
    assert "training data 72 " in text
    assert "current" not in text.partition("Rows kept and dropped")[2].partition("Checks of the semantic space")[0]


def test_classes_have_their_shares_and_quotas(page: Page, selected_folder: Path) -> None:
    """Would break if columns were mixed up, or if a run without class quotas failed or spoke of them."""
    assert "SetBlinds 61.0 % 5.0 % (4) 56.0 300 220 219" in page.text
    (selected_folder / "selection" / "answers.parquet").unlink()
    without = Page(build_report(selected_folder).read_text("utf-8"))
    assert "Shares by class" in page.text
    assert "Shares by class" not in without.text


def test_what_the_selection_passed_over_is_said(page: Page, selected_folder: Path) -> None:
    """Would break if notes were lost between strategy and reader, or if a selection without any had an empty table."""
    assert (
        "passed over: longer than the budget left 1,234 passed over: near duplicate of an earlier pick 9" in page.text
    )
    (selected_folder / "selection" / "summary.json").write_text("{}", "utf-8")
    without = Page(build_report(selected_folder).read_text("utf-8"))
    assert "Pool rows passed over" in page.text
    assert "Pool rows passed over" not in without.text


def test_the_headline_is_the_files_figures(page: Page) -> None:
    """Would break if the headline took another test, metric or rounding, or spoke of more than the interval shows."""
    assert (
        "On 120 held-out rows of Welsh usage (usage), exact match went from 2.0 % [0.0, 8.0] to 34.0 % [28.0, 40.0]: "
        "+32.0 points [+25.0, +39.0], better: the interval excludes zero."
    ) in page.text
    assert "English −2.0 points [−9.0, +5.0]" in page.text
    assert "No loss is shown, but tests of this size can miss one." in page.text


def test_a_selection_alone_says_what_is_missing(selected_folder: Path) -> None:
    """Would break if the report of `compass select` failed, or passed over in silence that nothing was measured."""
    page = Page(build_report(selected_folder).read_text("utf-8"))
    assert page.text.count("no adapter was trained, so nothing was measured") == 4
    assert "The strategy compass picked 30 pool rows" in page.text
    assert "compass select --config select/compass.yaml" in page.text


def test_texts_can_be_left_out(run_folder: Path, source: str) -> None:
    """Would break if any prompt, response, answer or cluster name (made of words of the texts) were in the file."""
    private = ("amserydd", "מה מזג", "开厨房", "StartTimer", "broken out", "vacuum, start", "golau", "SetBlinds")
    assert all(word in source for word in private)
    bare = build_report(run_folder, include_texts=False).read_text("utf-8")
    assert not [word for word in private if word in bare]
    assert "cluster 4" in bare


def test_a_lone_surrogate_in_an_answer_does_not_stop_the_report(selected_folder: Path) -> None:
    """Would break if a model's broken output could not be written as UTF-8."""
    path = selected_folder / "selection" / "selected.jsonl"
    row = json.loads(path.read_text("utf-8").split("\n")[0])
    path.write_text(json.dumps(row | {"prompt": "a\ud800b"}) + "\n", "utf-8")
    assert "a?b" in build_report(selected_folder).read_text("utf-8")


def test_no_run_folder_is_refused(tmp_path: Path) -> None:
    """Would break if an empty folder gave an empty report instead of one clear message."""
    with pytest.raises(RunError, match=r"is not a run folder: it has neither compass\.yaml nor selection/"):
        build_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


RESERVED = "added so that its cluster gets at least one row; closest to usage row 7"


def rows_of(source: str, table: str) -> list[str]:
    """Return the rows of a table by its id, as text."""
    body = source.split(f'id="{table}"')[1].split("</table>")[0].split("<tbody>")[1]
    return [re.sub(r"<[^>]+>", " ", row) for row in body.split("</tr>")[:-1]]


@pytest.mark.parametrize(
    "reason",
    [
        "added so that its cluster gets at least one row; closest to usage row 7",
        "lest its cluster has nothing: nearest to usage row 7",
    ],
)
def test_reserved_rows_do_not_lead_the_list(selected_folder: Path, reason: str) -> None:
    """Would break if a row that fills a cluster stood first under "best first", as in folders of version 0.1."""
    path = selected_folder / layout.PICKS
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    rows[0]["reason"] = reason
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    source = build_report(selected_folder).read_text("utf-8")
    ranked, reserved = rows_of(source, "picks"), rows_of(source, "reserved")
    assert "Picked rows, best first" in source
    assert len(ranked) == len(rows) - 1
    assert not [row for row in ranked if reason in row]
    assert len(reserved) == 1
    assert RESERVED in reserved[0]


def test_a_selection_without_reserved_rows_has_no_such_table(selected_folder: Path) -> None:
    """Would break if an empty table were shown."""
    assert 'id="reserved"' not in build_report(selected_folder).read_text("utf-8")


def cluster(identity: int, demand: float, picked: int) -> Cluster:
    return Cluster(identity, "", 1, 0, 0.1, 0.0, 0.1, demand, 99, picked, max(demand - picked, 0.0))


@pytest.mark.parametrize(
    ("clusters", "said"),
    [
        (((100, 100), (20, 20)), "Usage asks for 120 rows. All of them come from the clusters that ask for them."),
        (
            ((224, 224), (16, 0), (0, 16)),
            "Usage asks for 240 rows. 224 rows come from the clusters that ask for them. "
            "16 rows go beyond that: their clusters had the best rows left, or no row yet.",
        ),
        (
            ((10, 4), (2, 3)),
            "Usage asks for 12 rows. 6 rows come from the clusters that ask for them. "
            "1 row goes beyond that: their clusters had the best rows left, or no row yet. 5 rows could not be filled.",
        ),
    ],
)
def test_demand_is_accounted_for(tmp_path: Path, clusters: tuple[tuple[int, int], ...], said: str) -> None:
    """Would break if the account contradicted itself: 240 rows asked for, 240 picked and 16 missing."""
    run = Run(tmp_path, clusters=tuple(cluster(i, *pair) for i, pair in enumerate(clusters)))
    assert said in Page(render(run)).text


def test_free_text_is_told_by_its_loss(run_folder: Path, tmp_path: Path) -> None:
    """The headline would speak of exact matches, of which free text has next to none."""
    folder = shutil.copytree(run_folder, tmp_path / "cy")
    for model, loss in (("base", 1.9), ("adapter", 0.8)):
        path = folder / "eval" / model / "usage.json"
        summary = json.loads(path.read_text("utf-8"))
        summary["responses"] = "free text"
        values = {"loss_per_byte": loss, "chrf": 0.4, "token_f1": 0.3, "rouge_l": 0.3, "exact_match": 0.02}
        summary["metrics"] = {name: {"value": v, "low": v - 0.01, "high": v + 0.01} for name, v in values.items()}
        path.write_text(json.dumps(summary), "utf-8")
    text = Page(build_report(folder).read_text("utf-8")).text
    assert "loss per byte went from 1.900" in text
    assert "measured by loss per byte, chrF, token F1, ROUGE-L and exact match" in text


def test_answers_in_free_text_are_closer_or_further_and_never_wrong(run_folder: Path, tmp_path: Path) -> None:
    """Every answer would be "wrong both times", and the report show nothing of what the adapter changed."""
    folder = shutil.copytree(run_folder, tmp_path / "cy")
    scores = {"base": (0.2, 0.5, 0.5), "adapter": (0.6, 0.504, 0.3)}
    for model, of_rows in scores.items():
        path = folder / "eval" / model / "usage.predictions.jsonl"
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line][:4]
        for row, score in zip(rows, (*of_rows, None), strict=True):
            row |= {"exact": False} if score is None else {"exact": False, "chrf": score}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    text = Page(build_report(folder).read_text("utf-8")).text
    assert "Outcomes on 4 rows of usage: is the answer closer to the expected one" in text
    assert "Closer after As close Further after 1 2 1" in text
    assert "Closer after (chrF 20 to 60)" in text
    assert "Wrong both times" not in text
    for model in scores:
        path = folder / "eval" / model / "usage.predictions.jsonl"
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        path.write_text("".join(json.dumps({**row, "chrf": None}) + "\n" for row in rows), "utf-8")
        summary = json.loads((folder / "eval" / model / "usage.json").read_text("utf-8"))
        (folder / "eval" / model / "usage.json").write_text(json.dumps({**summary, "responses": "free text"}), "utf-8")
    text = Page(build_report(folder).read_text("utf-8")).text
    assert "free text, and were stored without a score for each row" in text
    assert "Wrong both times" not in text


def test_a_training_that_logged_once_has_no_course() -> None:
    """The page said that the loss went from 5.573 at step 1 to 5.573 at step 1."""
    first, last = {"loss": 5.5, "step": 1}, {"loss": 4.0, "step": 9}
    assert _course(first, first) == "The training loss was 5.500 at step 1, the only one that was logged."
    assert _course(first, last) == "The training loss went from 5.500 at step 1 to 4.000 at step 9."


def test_each_interval_says_its_kind(page: Page) -> None:
    """Wilson intervals would be read as bootstrap intervals."""
    assert "bootstrap intervals over test rows, or Wilson intervals where all rows of a test are right" in page.text
    assert "Bars are Wilson intervals here; those of differences are bootstrap intervals." in page.text


def test_the_median_of_an_even_number_of_clusters_lies_between_two(selected_folder: Path) -> None:
    """The larger of the two in the middle would stand for the median."""
    file = selected_folder / "space" / "diagnostics.json"
    file.write_text(json.dumps({"chosen_k": 4, "sizes": [20, 40, 60, 100]}), "utf-8")
    said = build_report(selected_folder).read_text("utf-8")
    assert "Cluster sizes: smallest 20, median 50, largest 100 rows." in said


def test_random_rows_serve_no_more_than_all_of_usage(selected_folder: Path) -> None:
    """A line drawn on from its first row would tell of 260 % of usage."""
    found = {
        "budget": 20, "rows": 20, "largest": 100, "unit": "examples", "at_random": 0.025,
        "spent": [0, 20, 100], "covered": [0.1, 0.9, 1.0],
    }  # fmt: skip
    (selected_folder / "selection" / "how_many.json").write_text(json.dumps(found), "utf-8")
    text = Page(build_report(selected_folder).read_text("utf-8")).text
    assert "Random rows 0 10.0 % 10.0 % 20 90.0 % 60.0 % 100 100.0 % 100.0 %" in text


def test_a_figure_of_demand_says_how_much_of_it_is_drawn(tmp_path: Path) -> None:
    """Of 30 clusters with a demand ten would be missing without a word."""
    text = Page(render(Run(tmp_path, clusters=tuple(cluster(k, 2, 2) for k in range(30))))).text
    assert "All of them come from the clusters that ask for them. The figure shows 20 of 30 clusters" in text
