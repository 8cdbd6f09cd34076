"""The site of docs/: every page is in the navigation, and the generated pages hold what they should."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import compass
from compass.config import all_options, gone_options

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = r"\]\(([^)#]+)(?:#[^)]*)?\)"


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", DOCS / "site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_navigation_once(site: ModuleType) -> None:
    """A page that no menu leads to is never read."""
    nav = re.findall(r"[\w/-]+\.md", yaml.safe_dump(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert sorted(nav) == sorted({*written, *site.pages()})


def test_every_option_is_in_the_reference(site: ModuleType) -> None:
    page = site.options_page()
    named = [line.split("`")[1] for line in page.splitlines() if line.startswith(("| `", "| **`"))]
    assert sorted(named) == sorted({**all_options(), **gone_options()})


def test_every_public_name_is_in_the_python_reference(site: ModuleType) -> None:
    """The page names where each is defined: a name that moved would be left out of the site."""
    homes = re.findall("^::: (.*)$", site.python_page(), re.M)
    assert {home.rsplit(".", 1)[1] for home in homes} >= set(compass.__all__)
    for home in homes:
        module, name = home.rsplit(".", 1)
        path = ROOT / "src" / module.replace(".", "/")
        source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        assert re.search(rf"^(def|class) {name}\b", source.read_text("utf-8"), re.M), home


def test_the_site_asks_no_server() -> None:
    """Fonts come from Google unless they are off; nothing else of the theme is fetched."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert config["theme"]["font"] is False
    assert "extra_javascript" not in config
    assert [path for path in config["extra_css"] if not (DOCS / path).is_file()] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_links_to_files_of_the_repository_exist(page: Path, site: ModuleType) -> None:
    """A reader of the repository has no generated page; the site has them, and nothing outside of docs/."""
    text = page.read_text("utf-8")
    links = re.findall(LINK, text)
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
    on_site = re.findall(LINK, site.on_page_markdown(text))
    assert page.parent == ROOT or [link for link in on_site if link.startswith("..") or link in site.GENERATED] == []
