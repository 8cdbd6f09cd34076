"""Make the stored values anew: `python tests/frozen/make.py`, or with names of files to make those alone.

The values are those of version 0.1. They say what a refactoring must not change, so they are not to be made anew to
make a test pass: a test that fails here has found a change of results. If a change is wanted, it is made in a commit of
its own, which says so, makes only the files that it is about, and changes nothing else. `selection_without_classes` is
a file of its own because such a change is foreseen there.

    PYTHONPATH=src python tests/frozen/make.py [draws] [arithmetic] [selection] [selection_without_classes] ...
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(names: list[str]) -> None:
    """Compute and write the values of these files, of all where none is named."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from frozen import stored
    from frozen.cases import FILES

    unknown = set(names) - set(FILES)
    if unknown:
        sys.exit(f"no such file of values: {', '.join(sorted(unknown))}; there are {', '.join(FILES)}")
    for name in names or FILES:
        stored.write(name, {case: compute() for case, compute in FILES[name].items()})
        print(f"{name}: {len(FILES[name])} cases")


if __name__ == "__main__":
    main(sys.argv[1:])
