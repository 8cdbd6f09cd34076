"""The page: sections rendered into one HTML file that asks nothing of any server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from compass.errors import RunError
from compass.report.blocks import Chart, Charts, Section
from compass.report.figures import specification
from compass.report.load import Run, load_run
from compass.report.sections import sections
from compass.report.wording import bare_language
from compass.runs import layout
from compass.runs.files import behind_links, write_text
from compass.runs.folder import refuse_version

TABLES = "tables.html.j2"
"""How a table is drawn; other pages than ours use it too."""


def build_report(run_dir: Path, *, include_texts: bool = True) -> Path:
    """Write `report.html` into a run folder, whole or partial, and return its path.

    The file holds everything it needs, plotly.js included; the same folder gives the same bytes. With `include_texts`
    off no prompt, response, answer or cluster name (made of the texts' words) is in it. Raises RunError if `run_dir`
    is not a run folder, a file in it cannot be read, or it is a version of the registry.
    """
    refuse_version(run_dir)
    page = render(load_run(run_dir), include_texts=include_texts)
    return write_page(run_dir / layout.REPORT, page, private=include_texts)


def write_page(path: Path, page: str, *, private: bool) -> Path:
    """Write a page of a folder of ours so that it is never seen in part, and return its path.

    private: it has texts of users, and is its owner's alone. Raises RunError for a link that leads out of the folder:
    somebody else may have made it.
    """
    target = behind_links(path)
    if target.parent != path.parent and target.parent != path.parent.resolve():
        raise RunError(
            f"{path} is a link to {target}, outside of its folder: the page is not written. Remove the link, and link "
            "from there to the page instead."
        )
    write_text(target, page, private=private)
    return path


def render(run: Run, *, include_texts: bool = True) -> str:
    """Return the page of a run as HTML."""
    target = str(run.options.get("language") or "und")
    return render_page(
        f"{bare_language(target)} · COMPASS report" if target != "und" else "COMPASS report",
        "Run folder",
        run.folder.resolve().name,
        sections(run, include_texts=include_texts),
    )


def render_page(title: str, subject_kind: str, subject_name: str, parts: tuple[Section, ...]) -> str:
    """Return a page of sections as HTML; plotly.js is in it only where there is a figure to draw.

    subject_kind, subject_name: what the page is about, under its title (`Run folder`, `cy`).
    """
    import jinja2
    from markupsafe import Markup

    folder = resources.files("compass.report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.DictLoader({TABLES: (folder / TABLES).read_text("utf-8")}),
    )  # fmt: skip
    template = environment.from_string((folder / "template.html.j2").read_text("utf-8"))
    figures = {chart.id: Markup(_json(specification(chart.figure))) for chart in _charts(parts)}
    scripts = [_plotly() if figures else "", (folder / "report.js").read_text("utf-8")]
    return template.render(
        title=title,
        subject_kind=subject_kind,
        subject_name=subject_name,
        sections=parts,
        style=Markup((folder / "style.css").read_text("utf-8")),
        plotly=Markup(scripts[0]),
        script=Markup(scripts[1]),
        # Only these two scripts may run, whatever the texts hold; nothing may be fetched from anywhere.
        policy=(
            "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
            "script-src " + " ".join(f"'sha256-{_digest(script)}'" for script in scripts if script)
        ),
        figures=figures,
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _charts(parts: tuple[Section, ...]) -> Iterator[Chart]:
    for section in parts:
        for block in section.blocks:
            if isinstance(block, Chart):
                yield block
            elif isinstance(block, Charts):
                yield from block.charts


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _json(value: object) -> str:
    """Return JSON that may stand inside a script element: no `<` that could end it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
