"""What the pages show, also of what is hostile, damaged, missing, or of version 0.1."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compass.config import DashboardOptions, load_options
from compass.dashboard.advice import next_step
from compass.dashboard.places import Places
from compass.dashboard.prompts import _points
from compass.dashboard.start import start
from compass.errors import ConfigError
from compass.registry import Registry
from compass.serve.app import make_app
from compass.serve.fleet import Fleet
from compass.serve.gateway import Gateway
from compass.serve.vllm import Vllm
from dashboard_client import Site
from dashboard_site import HOSTILE

HERE = Path(__file__).parents[1]
DEFAULTS = Places(Registry(Path("registry")), Path("watch"), Path("serve"))


class Elements(HTMLParser):
    """Collects elements and their attributes, as a browser would read a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_languages_at_a_glance(site: Site) -> None:
    """Would break if a card lacks its traffic, version, quality, drift or next action."""
    page = site.get("/").text
    for said in (
        "Welsh", "Version 2", "Version 3 waits", "55.0\u00a0% [47.0, 63.0]", "Drift", "1,300", "12 thumbs up, 5 down",
        "Promote version 3", "The gate passes it.", "Steady", "Nothing to do", "Promote version 1", "French (fr)",
    ):  # fmt: skip
        assert said in page, said
    # What needs somebody comes first: Welsh and German wait for a promotion, Greek for nothing.
    assert page.index("Welsh") < page.index("German") < page.index("Greek")


def test_one_language_in_depth(site: Site) -> None:
    """Would break if topics, the statistic, a version, the gate's tests, the map or prompts are missing."""
    page = site.get("/cy").text
    for said in (
        'class="chart stacked"', 'class="chart statistic"', 'class="chart map"', "vacuum", "threshold",
        "More of vacuum", "Version 3", "candidate", "new-usage", "old-usage", "english",
        "The gate on version 3, as of now: promote", "points more often", "Mark for labelling", "Moves of the aliases",
        "/dashboard/cy/report/v0002", "Left out by the monitor", "another language&#39;s adapter answered",
    ):  # fmt: skip
        assert said in page, said
    assert page.count('type="checkbox"') == 12


@pytest.mark.parametrize("path", ["/", "/cy", "/cy/promote", "/cy/rollback", "/cy/update"])
def test_what_people_and_models_wrote_is_text(site: Site, path: str) -> None:
    """Would break if a prompt, a topic's name or a reason can open an element or an attribute."""
    answer = site.get(path)
    elements = Elements(answer.text).found
    assert all(tag not in ("img", "iframe", "object") for tag, _ in elements)
    assert [at["src"] for tag, at in elements if tag == "script"] == ["/dashboard/static/dashboard.js"]
    assert not [name for _, at in elements for name in at if name.startswith("on") or name == "style"]
    urls = [str(at[name]) for _, at in elements for name in ("href", "src", "action") if name in at]
    assert all(url.startswith(("/dashboard/", "#")) for url in urls)
    if path == "/cy":
        assert answer.text.count("&lt;script&gt;alert(") > 3


def test_where_no_prompts_are_kept_the_map_has_points_without_texts(own: Site) -> None:
    """Would break if a text could be seen that the option `reservoir` does not allow, or no live prompt is drawn."""
    with closing(sqlite3.connect(own.root / "watch" / "el" / "monitor.db")) as database, database:
        database.execute("DELETE FROM compass_prompts")
    page = own.get("/el").text
    assert page.count('class="p-live"') == 300
    assert "<title>lights" not in page
    assert "No prompts are kept that could be shown" in page
    assert "<title>vacuum" in own.get("/cy").text


def test_a_topic_that_usage_did_not_ask_for_has_room_on_the_map(tmp_path: Path) -> None:
    """All prompts of a new topic would lie at one point, as if there were one."""
    kinds, clusters = ["usage", "pool", "pool", "pool"], [0, 0, 1, 1]
    (tmp_path / "selection").mkdir()
    table = pa.table({"x": [0.0, 1.0, 2.0, 3.0], "y": [0.0] * 4, "set": kinds, "cluster": clusters})
    pq.write_table(table, tmp_path / "selection" / "map.parquet")
    found = _points(tmp_path, 0)
    assert found is not None
    assert found.by_cluster == {0: ((0.0, 0.0),), 1: ((2.0, 0.0), (3.0, 0.0))}


def test_marked_prompts_are_downloaded_as_rows_to_answer(own: Site) -> None:
    """Would break if a mark is lost, if somebody's else prompt is in the file, or it could be no training data."""
    ids = sorted(int(at["value"]) for tag, at in Elements(own.get("/cy").text).found if at.get("type") == "checkbox")
    own.act("/cy/label", prompts=ids[:2], marks="yes")
    answer = own.get("/cy/to-label.jsonl")
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(f"kept-{id}" for id in ids[:2])
    assert {row["response"] for row in rows} == {""}
    assert "attachment" in answer.headers["content-disposition"]


def test_damage_is_shown_and_everything_else_too(own: Site) -> None:
    """Would break if a lost folder, half a run, a changed state or a broken database ends a page."""
    homes = sorted((own.root / "registry" / "cy" / "versions").iterdir())
    shutil.rmtree(homes[1])
    (homes[0] / "run" / "eval" / "adapter" / "cy.json").chmod(0o600)
    (homes[0] / "run" / "eval" / "adapter" / "cy.json").write_text("{")
    (homes[2] / "run" / "selection" / "map.parquet").unlink()
    (own.root / "registry" / "el" / "state.json").chmod(0o600)
    (own.root / "registry" / "el" / "state.json").write_text("[]")
    (own.root / "watch" / "el" / "monitor.db").write_bytes(b"no database at all" * 100)
    (own.root / "watch" / "cy" / "state.json").write_text("{}")
    (own.root / "serve" / "serve.db").write_bytes(b"x" * 5000)
    own = Site(own.root)
    overview, welsh, greek = own.get("/"), own.get("/cy"), own.get("/el")
    assert {overview.status_code, welsh.status_code, greek.status_code} == {200}
    assert "its folder is gone or damaged" in welsh.text
    assert "Version 2 is damaged" in overview.text
    assert "Repair the registry" in overview.text
    assert max(overview.text.index(name) for name in ("Welsh", "Greek")) < overview.text.index("German")
    assert "compass registry repair" in greek.text
    assert "file is not a database" in greek.text
    assert "The database of answers can&#39;t be read" in overview.text


def test_a_locked_monitor_is_said_soon(own: Site) -> None:
    """Would break if a page waits for whoever holds the database."""
    holding = sqlite3.connect(own.root / "watch" / "el" / "monitor.db", isolation_level=None)
    holding.execute("BEGIN EXCLUSIVE")
    try:
        answer = own.get("/el")
    finally:
        holding.close()
    assert "database is locked" in answer.text


def test_an_empty_registry_and_a_new_language_have_pages(tmp_path: Path) -> None:
    """Would break if a page needs a language, a monitor or traffic."""
    registry = tmp_path / "registry"
    registry.mkdir()
    page = Site(tmp_path).get("/").text
    assert "No version is registered yet" in page
    assert f"compass registry add runs/cy --registry-dir {registry}<" in page


def test_the_command_to_register_names_the_registry(own: Site) -> None:
    """Would break if somebody who copies it registers a version elsewhere."""
    view = replace(own.dashboard.reader.language("cy"), versions=())
    said = next_step(view, own.places).why
    assert said.endswith(f"yet: compass registry add RUN --registry-dir {own.root / 'registry'}.")
    assert next_step(view, DEFAULTS).why.endswith("yet: compass registry add RUN.")


def test_the_command_to_watch_names_the_dashboards_folders(own: Site) -> None:
    """Would break if somebody who copies it starts a loop over no prompts, whose state the pages never show."""
    view = replace(own.dashboard.reader.language("el"), watched=None, watch_problem="")
    root, flags = own.root, f"--registry-dir {own.root}/registry --watch-dir {own.root}/watch"
    assert next_step(view, own.places).why.endswith(f": compass watch el {root}/serve/prompts --follow {flags}.")
    assert next_step(view, DEFAULTS).why.endswith(": compass watch el serve/prompts --follow.")
    secret = replace(DEFAULTS, database="postgresql://me:pass@host/db")
    assert secret.watch_command("el") == "compass watch el serve/prompts --follow --database URL"
    (root / "watch" / "el" / "monitor.db").unlink()
    assert f"<code>compass watch el {root}/serve/prompts --follow {flags}</code>" in own.get("/el").text


def test_a_registry_whose_disk_is_gone_is_no_empty_one(own: Site) -> None:
    """Would break if somebody is told to register a first version while a disk is not mounted."""
    (own.root / "registry").rename(own.root / "elsewhere")
    page = own.get("/")
    assert page.status_code == 200
    assert "is not there. Is its disk mounted?" in page.text
    assert "No version is registered yet" not in page.text
    assert own.get("/cy").status_code == 404


@pytest.mark.parametrize("name", ["serve_dir", "watch_dir"])
@pytest.mark.parametrize("below", ["", "cy"])
def test_a_file_in_the_place_of_a_folder_is_refused_before_anything_listens(
    tmp_path: Path, name: str, below: str
) -> None:
    """The dashboard would start, and show no traffic and no watch of anything."""
    (tmp_path / "registry").mkdir()
    file = tmp_path / "file"
    file.touch()
    folders = {"registry_dir": str(tmp_path / "registry"), name: str(file / below)}
    options = load_options(DashboardOptions, None, folders)
    with pytest.raises(ConfigError, match=f"{name}: .* can't be a folder: .*file is a file"):
        start(options)


def test_folders_of_version_0_1_are_shown(tmp_path: Path) -> None:
    """Would break if the registry or a monitor of 0.1 can't be read, or is written to."""
    for name in ("registry", "watch"):
        shutil.copytree(HERE / "fixtures" / "v0_1" / name, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    site = Site(tmp_path)
    for tag in site.registry.languages():
        page = site.get(f"/{tag}")
        assert page.status_code == 200
        assert "No monitor has seen" not in page.text
        assert 'class="chart stacked"' in page.text
    assert {path: path.read_bytes() for path in before} == before


def test_reports_and_the_status_page_are_kept_apart(site: Site) -> None:
    """Would break if a report's own scripts ran beside the dashboard's cookie."""
    id = site.registry.aliases("cy").current
    for path in (f"/cy/report/{id}", "/status"):
        answer = site.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts")
    assert site.get("/cy/report/%2e%2e").status_code == 404
    assert site.get("/cy/report/v0009-000000000000").status_code == 404


def test_the_gateway_serves_it_with_its_servers(made: Path) -> None:
    """Would break if the pages took the API's addresses, or a server that is down is not shown."""
    fleet = Fleet([Vllm("http://gone.example:8000", timeout=1.0)], lambda live: {})
    site = Site(made, app=make_app(Gateway(fleet)), fleet=fleet)
    page = site.get("").text
    assert "http://gone.example:8000" in page
    assert "does not answer" in page
    assert site.client.get("/healthz").text == "ok\n"
    assert site.client.get("/v1/models").json()["object"] == "list"


def test_what_is_not_there_is_not_found(site: Site) -> None:
    """Would break if an odd address ends in an error of the server."""
    for path in ("/xx", "/cy/destroy", "/%2e%2e", "/cy/report/x/y", "/static/%2e%2e", "/static/app.py", "/zz/promote"):
        assert site.get(path).status_code == 404, path
    assert HOSTILE not in site.get(f"/{HOSTILE}").text
