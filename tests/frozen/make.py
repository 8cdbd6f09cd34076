"""Make the stored values anew: `python tests/frozen/make.py`, or with names of files to make those alone.

The values are those of version 0.1. They say what a refactoring must not change, so they are not to be made anew to
make a test pass: a test that fails here has found a change of results. If a change is wanted, it is made in a commit of
its own, which says so, makes only the files that it is about, and changes nothing else. `selection_without_classes` is
a file of its own because such a change is foreseen there.

`selection_changed` holds what has changed since, of the strategy `compass` alone (`cases.CHANGED` has the reasons case
by case); the values of version 0.1 stay beside it:
- A row is reserved for each gap cluster beforehand, where rows for empty clusters used to be put first and everything
  was picked again. Such a row is the last of the picks, and 119 of 120 rows are the same.
- Where classes have no quotas (responses are free text, there is no training data) each usage row is its own class: the
  cap of 15 % per class and the bonus for likely classes are gone. Where some responses are free text, these are one
  class more.
- If much of usage asks for classes that the training data lacks, that part of usage is the rows furthest from the
  training data. It is a third here: half of the picks are of its topics, where a seventh was.
- With budgets in tokens the half row of the round-robin is half of the mean row, as in every other strategy that
  splits over clusters; it was half a token.

    PYTHONPATH=src python tests/frozen/make.py [draws] [selection] [selection_changed] [monitor] ...
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
