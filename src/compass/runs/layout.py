"""Every path of a run folder, once. All are relative to the folder and written with slashes, as `lock.json` has them.

```
RUN/
  compass.yaml          every option, resolved
  lock.json             versions, revisions, hashes, seeds
  report.html           the whole run on one page
  data/                 what was read, after cleaning: usage, training data, pool, tests; what was left out, and why
  space/                the semantic space and the names of its clusters
  selection/            the picks, the audit of each pick, the account of each cluster and class
  label/                the prompts that a person should answer first, and files to answer them in
  adapter/              the adapter as peft saves it, with tokenizer, chat template and model card
  training/             the log of the training and what it cost
  trainings/            adapters that are averaged, until they are
  anchors/              of an update: the rows of its history that it replays
  fisher.safetensors    of an update with a penalty: Fisher information for the next one
  eval/                 base model, adapter and, of an update, its parent on every test set
  evaluations/          what `compass evaluate` measured in this folder
  monitor/              the drift monitor's reference and state
  logs/                 stages and their cost
```
"""

from __future__ import annotations

CONFIG = "compass.yaml"
LOCK = "lock.json"
REPORT = "report.html"

DATA = "data"
USAGE = "data/usage.jsonl"
TRAIN = "data/current.jsonl"
POOL = "data/pool.jsonl"
TESTS = "data/tests"
TEST_NAMES = "data/tests.json"
CLEANING = "data/cleaning.json"
DROPPED = "data/dropped.jsonl"
"""Each row that was left out: its set, place, id and the reason, but none of its texts."""
DATA_BLOCKS = "data-blocks"
"""What was found in blocks of a large pool, while reading it is not finished."""
FERTILITY = "data/fertility.json"
LENGTHS = "data/lengths.json"
PREFILTER = "data/prefilter.json"
"""What the first stage of a large pool let through, by place in the pool of this run, and how many it passed over."""

SPACE = "space"
SPACE_WEIGHTS_FILE = "space.safetensors"
SPACE_SETTINGS_FILE = "space.json"
"""Names of these two in any folder of a space."""
SPACE_WEIGHTS = f"space/{SPACE_WEIGHTS_FILE}"
SPACE_SETTINGS = f"space/{SPACE_SETTINGS_FILE}"
CLUSTER_NAMES = "space/clusters.json"
DIAGNOSTICS = "space/diagnostics.json"

SELECTION = "selection"
PICKS = "selection/selected.jsonl"
AUDIT = "selection/audit.parquet"
CLUSTERS = "selection/clusters.parquet"
CLASSES = "selection/answers.parquet"
SELECTION_SUMMARY = "selection/summary.json"
HOW_MANY = "selection/how_many.json"
MAP = "selection/map.parquet"

LABEL = "label"
LABEL_LIST = "label/list.json"

ADAPTER = "adapter"
WEIGHTS_FILE = "adapter_model.safetensors"
"""Name of the weights in any folder of an adapter."""
ADAPTER_CONFIG_FILE = "adapter_config.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
CARD_FILE = "README.md"
ADAPTER_WEIGHTS = f"adapter/{WEIGHTS_FILE}"
ADAPTER_CONFIG = f"adapter/{ADAPTER_CONFIG_FILE}"
CARD = f"adapter/{CARD_FILE}"
TRAINING = "training"
TRAINING_LOG = "training/log.jsonl"
RESULT_FILE = "result.json"
"""Of each of the averaged trainings, in its own folder, as well."""
TRAINING_RESULT = f"training/{RESULT_FILE}"
TRAINING_PARTS = "trainings"
CHECKPOINTS = "checkpoints"

ANCHORS = "anchors"
ANCHOR_ROWS = "anchors/anchors.jsonl"
ANCHOR_SUMMARY = "anchors/summary.json"
FISHER = "fisher.safetensors"
PARENT_FISHER = "training/parent-fisher.safetensors"

EVALUATION = "eval"
BASE_EVALUATION = "eval/base"
ADAPTER_EVALUATION = "eval/adapter"
PARENT_EVALUATION = "eval/parent"
DIFFERENCES_FILE = "differences.json"
"""In a folder of evaluations, here and under `evaluations/`."""
DIFFERENCES = f"eval/{DIFFERENCES_FILE}"
PARENT_DIFFERENCES = "eval/differences-parent.json"
OWN_EVALUATIONS = "evaluations"

MONITOR = "monitor"
REFERENCE = "monitor/reference"
REFERENCE_WEIGHTS_FILE = "reference.safetensors"
"""In the folder of a reference, beside the folder of its space."""
MONITOR_STATE = "monitor/state.db"

LOGS = "logs"
STAGE_RECORDS = "logs/stages"
STAGE_LOG = "logs/stages.jsonl"
RUN_LOCK = "logs/run.lock"
ADAPT_LOG = "logs/adapt.log"
"""Of a language that a project runs in a process of its own."""
CELL_LOG = "logs/cell.log"
DRAW_LOG = "logs/draw.log"

CELL = "cell.json"
"""In a cell of a comparison: it was measured."""

PROJECT_PAGE = "index.html"
PROJECT_STATE = "project.json"
"""In the folder of a project, beside the run folders of its languages."""


def test_file(name: str) -> str:
    """Return the path of the rows of a test set."""
    return f"{TESTS}/{name}.jsonl"


def stage_record(stage: str) -> str:
    """Return the path of the record of a finished stage."""
    return f"{STAGE_RECORDS}/{stage}.json"
