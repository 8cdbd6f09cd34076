"""What mkdocs makes at build, besides the pages of this folder: the tutorial of its notebook, and the references.

`mkdocs.yml` names this file as a hook; mkdocs calls `on_files` and `on_page_markdown`.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import compass
from compass.config import (
    AUTO,
    AdaptConfig,
    CompareConfig,
    DashboardOptions,
    ExportOptions,
    ForgetOptions,
    LabelOptions,
    MonitorOptions,
    Option,
    RegistryOptions,
    ServeOptions,
    TaskOptions,
    UpdateOptions,
    WatchOptions,
    fields_of,
    gone_options,
)

DOCS = Path(__file__).parent
COMMANDS = {
    "compass adapt": AdaptConfig,
    "compass compare": CompareConfig,
    "compass label": LabelOptions,
    "compass evaluate --tasks": TaskOptions,
    "compass monitor": MonitorOptions,
    "compass update": UpdateOptions,
    "compass registry": RegistryOptions,
    "compass watch": WatchOptions,
    "compass serve": ServeOptions,
    "compass dashboard": DashboardOptions,
    "compass data forget": ForgetOptions,
    "compass export": ExportOptions,
}
"""Command -> what it takes."""

MORE = {
    "Results": (
        "compass.recipes.adapt.Adapted",
        "compass.recipes.label.Labelled",
        "compass.data.label_list.LabelList",
        "compass.data.label_list.LabelPrompt",
        "compass.steps.state.Selected",
        "compass.selection.protocol.Selection",
        "compass.records.Interval",
        "compass.records.Difference",
        "compass.records.Event",
    ),
    "Flows": (
        "compass.recipes.project.adapt_project",
        "compass.recipes.compare.compare",
        "compass.recipes.update.update",
        "compass.recipes.update.NewData",
        "compass.recipes.monitor.monitor",
        "compass.recipes.watch.watch",
    ),
}
"""Further sections of the Python reference: what the public functions return, and the flows behind the commands."""

GENERATED = {
    "tutorial.ipynb": "tutorial.md",
    "../src/compass/config": "reference/options.md",
    "../src/compass/config/gone.py": "reference/options.md#removed-options",
}
"""Links of the pages in this folder -> what they are on the site."""

OPTIONS_INTRO = """# Options

Every option has one name: the flag `--lora-r`, the YAML key `lora_r` and the Python argument `lora_r` are the same.
`--config FILE` reads a YAML file; flags override it. The file may list options flat or group them under the section
names below. One file may serve all commands: a command ignores the options of others and refuses unknown names.
The options in **bold** are the basic ones, which `--help` shows; `--help-all` shows all.
"""

PYTHON_INTRO = """# Python

`import compass` loads neither torch nor transformers: each name below is imported when it is first used. The classes
of options are described in [Options](options.md).
"""


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the site."""
    from mkdocs.structure.files import File

    for name, content in pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_given: Any) -> str:
    """Lead links to what a reader of the repository has to the pages that are generated of it."""
    for source, page in GENERATED.items():
        markdown = markdown.replace(f"({source})", f"({page})")
    return markdown


def pages() -> dict[str, str]:
    """Return the generated pages by path."""
    found = {"reference/options.md": options_page(), "reference/python.md": python_page()}
    notebook = DOCS / "tutorial.ipynb"
    if notebook.exists():
        found["tutorial.md"] = notebook_page(json.loads(notebook.read_text("utf-8")))
    return found


def options_page() -> str:
    """Return a table of options for each section, and one of those that were removed."""
    sections: dict[str, list[Option]] = {}
    takers: dict[str, list[str]] = {}
    for command, kind in COMMANDS.items():
        for option in fields_of(kind):
            own = sections.setdefault(option.section, [])
            own += [] if option.name in [known.name for known in own] else [option]
            names = takers.setdefault(option.section, [])
            names += [] if command in names else [command]
    lines = [OPTIONS_INTRO]
    for section, options in sections.items():
        lines += [
            f"## {section}",
            "",
            f"Taken, all or some, by {', '.join(f'`{name}`' for name in takers[section])}.",
            "",
        ]
        lines += ["| option | default | what it does |", "| --- | --- | --- |", *map(_row, options), ""]
    lines += ["## Removed options", "", "Configurations that still name one of these are refused, unless the value was",
              "the default. Run folders made by earlier versions stay readable.", "",
              "| option | what replaces it |", "| --- | --- |"]  # fmt: skip
    lines += [f"| `{name}` | It {_cell(gone.what_happened)} |" for name, gone in sorted(gone_options().items())]
    return "\n".join(lines) + "\n"


def _row(option: Option) -> str:
    default = "auto" if option.auto and option.default == AUTO else option.default
    if isinstance(default, tuple):
        default = ", ".join(map(str, default))
    elif isinstance(default, dict):
        default = ", ".join(f"{key}={value}" for key, value in default.items())
    shown = f"`{str(default).lower() if isinstance(default, bool) else default}`" if default not in ("", ()) else ""
    names = f"**`{option.name}`**" if option.basic else f"`{option.name}`"
    names += f", `{option.alias}`" if option.alias else ""
    choices = f" One of: {', '.join(f'`{choice}`' for choice in option.choices)}." if option.choices else ""
    return f"| {names} | {shown} | {_cell(option.help)}{choices} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def python_page() -> str:
    """Return the reference of the public names: mkdocstrings fills in signatures and docstrings."""
    sections = {"Public names": [_home(compass._HOMES[name], name) for name in sorted(compass.__all__, key=str.lower)]}
    parts = [PYTHON_INTRO]
    for title, homes in {**sections, **MORE}.items():
        parts += [f"## {title}", *(f"::: {home}" for home in homes)]
    return "\n\n".join(parts) + "\n"


def _home(module: str, name: str) -> str:
    """Return where a name is defined, found without importing: a room's `__init__.py` may take it from a module."""
    path = DOCS.parent / "src" / module.replace(".", "/") / "__init__.py"
    for node in ast.walk(ast.parse(path.read_text("utf-8"))) if path.exists() else ():
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return _home(str(node.module), name)
    return f"{module}.{name}"


def notebook_page(notebook: dict[str, Any]) -> str:
    """Return a notebook as Markdown: its texts as they are, its code in fences."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"]).strip()
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts) + "\n"
