"""lm-eval's own command, without the index of its 14,000 tasks, which takes seconds to read."""

from __future__ import annotations

import functools

import lm_eval.tasks
from lm_eval.__main__ import cli_evaluate

if __name__ == "__main__":
    lm_eval.tasks.TaskManager = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
    cli_evaluate()
