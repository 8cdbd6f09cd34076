"""The same job by this package and by others, on the same data: processor time, memory, and agreement.

    pip install faiss-cpu semhash evoc fast-hdbscan datatrove data-selection   # into an environment of its own
    OMP_NUM_THREADS=1 python benchmarks/peers.py --output runs/peers            # about ten minutes of a processor
    python benchmarks/peers.py --output runs/peers --table

Each way of doing a job is a process of its own. What it needs is made first and counts for nothing; what compiles at
its first call is called once before. Vectors: 200 topics (`selection.py`), 384 dimensions. Texts: made-up sentences,
one in twenty a near copy (`costs.py`). Peers that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
CLUSTERS, BUDGET, NEIGHBOURS = 300, 1000, 5000
Work = Callable[[], Any]
Made = tuple[Work, Work | None, Callable[[Any], dict[str, float]]]
"""What is timed, what is called once before, and what is said of the result."""


def vectors(n: int) -> tuple[Any, Any]:
    """Return n unit rows and their topics."""
    import selection

    rng = np.random.default_rng(0)
    topics = rng.standard_normal((selection.TOPICS, selection.DIMENSIONS), dtype=np.float32)
    topics /= np.linalg.norm(topics, axis=1, keepdims=True)
    which = rng.integers(0, selection.TOPICS, n)
    return selection.rows(rng, topics, which, spread=0.05), which


def texts(n: int) -> list[Any]:
    """Return n rows of text that differ in their prompts alone."""
    import costs

    rows = costs.sentences(n, 10, np.random.default_rng(0))
    return [dataclasses.replace(row, language="en", response="ok") for row in rows]


def clusters(name: str, n: int) -> Made:
    """300 clusters of all rows."""
    x, topics = vectors(n)

    def ours() -> Any:
        from compass.semantic.kmeans import assign_nearest, spherical_kmeans

        sample = np.sort(np.random.default_rng(0).permutation(n)[:20_000])
        return assign_nearest(x, spherical_kmeans(x[sample], CLUSTERS, seed=0))

    def scikit_learn() -> Any:
        from sklearn.cluster import KMeans, MiniBatchKMeans

        kind = MiniBatchKMeans if name.endswith("MiniBatchKMeans") else KMeans
        return kind(n_clusters=CLUSTERS, n_init=1, random_state=0).fit(x).labels_

    def faiss() -> Any:
        import faiss

        model = faiss.Kmeans(x.shape[1], CLUSTERS, niter=25, spherical=True, seed=1)
        model.train(x)
        return model.index.search(x, 1)[1][:, 0]

    def said(labels: Any) -> dict[str, float]:
        from sklearn.metrics import adjusted_rand_score

        sums = np.zeros((CLUSTERS, x.shape[1]))
        np.add.at(sums, labels, x)
        return {
            "mean cosine": float(np.linalg.norm(sums, axis=1).sum() / n),
            "ARI": float(adjusted_rand_score(topics, labels)),
        }

    return {"compass": ours, "faiss": faiss}.get(name, scikit_learn), None, said


def densities(name: str, n: int) -> Made:
    """Clusters by density."""
    x, topics = vectors(n)

    def work(rows: Any) -> Any:
        if name == "compass":
            from compass.semantic.space import SemanticSpace

            return SemanticSpace.fit(rows, ["en"] * len(rows), clustering="hdbscan", language_removal="none").assign(
                rows, ["en"] * len(rows)
            )
        if name == "evoc":
            from evoc import EVoC

            return EVoC(random_state=0).fit_predict(rows)
        from fast_hdbscan import HDBSCAN
        from sklearn.decomposition import PCA

        reduced = PCA(24, random_state=0).fit_transform(rows)
        smallest = max(3, len(rows) // 400)
        return HDBSCAN(min_cluster_size=smallest, cluster_selection_method="leaf").fit_predict(reduced)

    def said(labels: Any) -> dict[str, float]:
        from sklearn.metrics import adjusted_rand_score

        labels = np.asarray(labels)
        return {
            "clusters": float(labels.max() + 1), "noise": float(np.mean(labels < 0)),
            "ARI": float(adjusted_rand_score(topics, labels)),
        }  # fmt: skip

    return (lambda: work(x)), (lambda: work(x[:2000])), said


def duplicates(name: str, n: int) -> Made:
    """Near duplicates among texts of one language; how many are found, and which part of the copies."""
    rows = texts(n)
    prompts = [row.prompt for row in rows]
    places = {prompt: i for i, prompt in enumerate(prompts)}
    pairs = [(i, places.get(prompt.rpartition(" ")[0], -1)) for i, prompt in enumerate(prompts)]
    copies = [{i, first} for i, first in pairs if first >= 0]

    def ours() -> Any:
        from compass.data.cleaning.duplicates import find_near_duplicates

        return set(find_near_duplicates(rows, 0.7))

    def semhash() -> Any:
        from semhash import SemHash
        from sklearn.feature_extraction.text import HashingVectorizer

        class Characters:
            def encode(self, inputs: Any, **_: Any) -> Any:
                hashed = HashingVectorizer(analyzer="char", ngram_range=(5, 5), n_features=1024, alternate_sign=True)
                return hashed.transform(list(inputs)).toarray().astype(np.float32)

        found = SemHash.from_records(prompts, model=Characters()).self_deduplicate(threshold=0.83)
        kept = set(found.selected)
        return {i for i, prompt in enumerate(prompts) if prompt not in kept}

    def said(found: Any) -> dict[str, float]:
        # Which of the two stays is a matter of taste.
        return {"found": len(found), "of the copies": sum(bool(found & pair) for pair in copies) / len(copies)}

    return (semhash if name == "semhash" else ours), None, said


def importance(name: str, n: int) -> Made:
    """Importance weights of n-grams (DSIR): 1,000 rows of a pool."""
    prompts = [row.prompt for row in texts(n)]
    folder = Path(tempfile.mkdtemp())
    usage = prompts[:300]
    for file, part in (("pool", prompts), ("usage", usage)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in part)
        (folder / f"{file}.jsonl").write_text(lines, encoding="utf-8")

    def ours() -> Any:
        from compass.data.text_features import ngram_counts
        from compass.selection import Ngrams
        from compass.selection.strategies.dsir import log_importance

        return len(log_importance(Ngrams(usage=ngram_counts(usage), pool=ngram_counts(prompts))))

    def theirs() -> Any:
        from data_selection import HashedNgramDSIR

        own = HashedNgramDSIR([str(folder / "pool.jsonl")], [str(folder / "usage.jsonl")], str(folder / "cache"),
                              num_proc=1, min_example_length=0)  # fmt: skip
        own.fit_importance_estimator()
        own.compute_importance_weights()
        return n

    return (ours if name == "compass" else theirs), None, lambda rows: {"rows": float(rows)}


def transport(name: str, n: int) -> Made:
    """TSDS: 5,000 neighbours of 300 usage rows, densities of the rows reached, transport; the same picks asked for."""
    x, _ = vectors(n + 300)
    pool, usage = x[:n], x[n:]

    def ours() -> Any:
        from compass.selection import Candidates, get_strategy

        zeros = np.zeros(n, dtype=np.int64)
        candidates = Candidates(
            usage=usage, train=usage[:0], pool=pool, usage_clusters=zeros[:300], train_clusters=zeros[:0],
            pool_clusters=zeros, n_clusters=1, pool_languages=["en"] * n, pool_costs=zeros + 1, target_language="cy",
        )  # fmt: skip
        return get_strategy("tsds").select(candidates, BUDGET, seed=0).indices

    def faiss() -> Any:
        import faiss

        from compass.selection.strategies.tsds import SIGMA, transport

        def index(rows: Any) -> Any:
            flat = faiss.IndexFlatIP(rows.shape[1])
            flat.add(rows)
            return flat

        cosines, near = index(pool).search(usage, min(NEIGHBOURS, n))
        reached = np.unique(near)
        # The authors take the kernel over 1,000 neighbours.
        around, _ = index(pool[reached]).search(pool[reached], min(1000, len(reached)))
        density = np.ones(n)
        density[reached] = np.maximum(np.maximum(1 - (2 - 2 * around) / SIGMA**2, 0).sum(axis=1), 1)
        found = transport(np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0)), density[near])
        mass = np.bincount(near.ravel(), weights=found.mass.ravel(), minlength=n)
        return np.random.default_rng(0).choice(n, BUDGET, replace=False, p=mass / mass.sum())

    def said(picks: Any) -> dict[str, float]:
        return {"mean best cosine": float((pool[picks] @ usage.T).max(axis=1).mean())}

    return (faiss if name == "faiss" else ours), None, said


def reading(name: str, n: int) -> Made:
    """JSON Lines to rows."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "pool.jsonl"
    rows = [{"id": row.id, "text": row.prompt, **row.to_dict()} for row in texts(n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def ours() -> Any:
        from compass.data.readers import read_examples

        return len(read_examples([str(path)]))

    def theirs() -> Any:
        from datatrove.pipeline.readers import JsonlReader

        return sum(1 for _ in JsonlReader(str(folder)).run())

    return (theirs if name == "datatrove" else ours), None, lambda found: {"rows": float(found)}


JOBS: dict[str, tuple[Any, int, dict[str, str]]] = {
    "clusters": (clusters, 100_000, {"compass": "", "scikit-learn KMeans": "sklearn",
                                     "scikit-learn MiniBatchKMeans": "sklearn", "faiss": "faiss"}),
    "clusters by density": (densities, 10_000, {"compass": "", "fast-hdbscan": "fast_hdbscan", "evoc": "evoc"}),
    "near duplicates": (duplicates, 20_000, {"compass": "", "semhash": "semhash"}),
    "DSIR": (importance, 20_000, {"compass": "", "data-selection": "data_selection"}),
    "TSDS": (transport, 20_000, {"compass": "", "faiss": "faiss"}),
    "reading": (reading, 100_000, {"compass": "", "datatrove": "datatrove"}),
}  # fmt: skip
"""Job -> what makes it, its rows, and who does it: name -> the module that has to be installed."""


def one(job: str, name: str, n: int) -> dict[str, Any]:
    """Do a job once, here."""
    from compass.runs.machine import peak_memory, reset_peak_memory

    work, before, said = JOBS[job][0](name, n)
    if before:
        before()
    reset_peak_memory()
    start = time.process_time()
    found = work()
    seconds = time.process_time() - start
    return {"job": job, "name": name, "rows": n, "seconds": seconds, "gib": peak_memory() / 2**30, "said": said(found)}


def table(results: list[dict[str, Any]]) -> str:
    """Return medians as a table, with the ratio of each peer's time to ours."""
    lines = ["| job | rows | by | seconds | ratio | GiB | result |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for job, (_, _, names) in JOBS.items():
        cells = {name: [r for r in results if (r["job"], r["name"]) == (job, name)] for name in names}
        medians = {name: float(np.median([r["seconds"] for r in own])) for name, own in cells.items() if own}
        for name, seconds in medians.items():
            own = cells[name]
            ratio = f"{seconds / medians['compass']:.2f}" if "compass" in medians else "–"
            said = ", ".join(f"{what} {_shown(value)}" for what, value in own[-1]["said"].items())
            gib = max(r["gib"] for r in own)
            lines.append(f"| {job} | {own[-1]['rows']:,} | {name} | {seconds:.2f} | {ratio} | {gib:.2f} | {said} |")
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Do what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        job, name, n = options.one
        print(json.dumps(one(job, name, int(n))))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "results.jsonl"
    results = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    for job in options.only if not options.table else ():
        _, n, names = JOBS[job]
        n = n // 10 if options.quick else n
        for name, module in names.items():
            if module and importlib.util.find_spec(module) is None:
                print(f"{job}: {name} is not installed", file=sys.stderr)
                continue
            done = sum((r["job"], r["name"], r["rows"]) == (job, name, n) for r in results)
            for _ in range(options.repeats - done):
                command = [sys.executable, __file__, "--output", str(options.output), "--one", job, name, str(n)]
                run = subprocess.run(command, check=False, capture_output=True, text=True)
                if run.returncode:
                    print(f"{job}: {name} failed: {run.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                    break
                results.append(json.loads(run.stdout.splitlines()[-1]))
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(results[-1]) + "\n")
                print(job, name, f"{results[-1]['seconds']:.2f} s", file=sys.stderr)
    print(table(results))


if __name__ == "__main__":
    main()
