"""Write down what training, evaluation and comparison give: `python tests/frozen/make_training.py` in the root.

The values in `values/` are those of version 0.1 and are not remade to make a test pass: a test that fails says that a
result has changed. They may be made anew only where a result is changed on purpose, by a commit that says so, or where
a locked dependency is raised and the change is shown to come from it alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from frozen.training_cases import VALUES, compared, metrics_of, scored, trainings


def main() -> None:
    """Make the three files."""
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        tensors, answered = trainings(Path(folder))
    VALUES.mkdir(exist_ok=True)
    save_file(tensors, VALUES / "training.safetensors")
    given = scored()
    training = {"trained": answered, "scored": given, "intervals": metrics_of(given)}
    for name, content in (("training", training), ("comparison", compared())):
        (VALUES / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
