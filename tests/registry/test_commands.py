"""Commands that messages name can be run as they are printed."""

import sys

import pytest

from compass.registry.commands import command


@pytest.mark.parametrize(
    ("platform", "root", "line"),
    [
        ("linux", "/srv/my models", "compass registry promote cy --registry-dir '/srv/my models'"),
        ("win32", r"C:\my models", r'compass registry promote cy --registry-dir "C:\my models"'),
        ("win32", "registry", "compass registry promote cy"),
    ],
)
def test_a_command_is_quoted_as_the_shell_takes_it(
    platform: str, root: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single quotes are none for `cmd.exe`, where a folder with a space would be two words."""
    monkeypatch.setattr(sys, "platform", platform)
    assert command(root, "promote", "cy") == line
