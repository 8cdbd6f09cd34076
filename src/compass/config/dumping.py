"""Write options down: as the YAML file that repeats a run, or as the flags of a command."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from compass.config.knobs import Options, flag_of, said, values_of


def dump_config(config: Any) -> str:
    """Return the options as YAML in sections, each under its help; reading it back gives an equal configuration."""
    lines = ["# Options of compass. Flags of the same names override them: lora_r is --lora-r."]
    section = ""
    for option, value in values_of(config):
        if option.section != section:
            section = option.section
            lines += ["", f"{section}:"]
        limits = f" One of: {', '.join(option.choices)}." if option.choices else ""
        lines.append(f"  # {option.help}{limits}")
        lines.append(f"  {option.name}: {yaml_value(said(option, value))}")
    return "\n".join(lines) + "\n"


def changed_flags(config: Options, since: Options, *, leaving_out: Collection[str] = ()) -> list[str]:
    """Return the command-line flags that make `since` into `config`, both of one type."""
    pairs = zip(values_of(config), values_of(since), strict=True)
    changed = {option.name: said(option, value) for (option, value), (_, before) in pairs if value != before}
    return as_flags({name: value for name, value in changed.items() if name not in leaving_out})


def as_flags(options: Mapping[str, Any]) -> list[str]:
    """Return the command-line flags that give options these values."""
    flags = []
    for name, value in options.items():
        flag = flag_of(name)
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-", 1))
            continue
        parts = [f"{key}={item}" for key, item in value.items()] if isinstance(value, dict) else value
        for part in parts if isinstance(parts, (list, tuple)) else (parts,):
            flags += [flag, str(part)]
    return flags


def yaml_value(value: Any) -> str:
    """Return a value as YAML on one line, which is read back as it was."""
    import yaml

    plain = list(value) if isinstance(value, tuple) else value
    # PyYAML folds some line separators (U+0085, for one) when it writes them as they are; escaped, all come back.
    for allow_unicode in (True, False):
        text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=allow_unicode, width=math.inf)
        # Of plain ASCII both ways are one.
        if text.isascii() or yaml.safe_load(text) == plain:
            break
    return text.removesuffix("\n").removesuffix("\n...")
