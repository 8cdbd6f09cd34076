"""The command `compass`: thin commands over the recipes. Results go to stdout, everything else to stderr.

`app.py` lists the commands, `flags.py` makes flags of options, `help.py` shows them, `printing.py` prints results.
"""

from compass.cli.app import main

__all__ = ["main"]
