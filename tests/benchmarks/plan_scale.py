"""A plan of a million batches: what its length costs the feeder, Redis, a resume and the seal.

    python tests/benchmarks/plan_scale.py --out FOLDER [--batches 1000000] [--ends 30000] [--seal 10000 100000]

The plan is written by the real Plan, each batch said to be of 1,000 documents. A real Leader (feeder and reconciler)
feeds it into a real Redis. Two things are made up. The corpus is not there: a batch that is published has 8 documents,
since 10^9 documents would measure the disk. The workers are one other process that takes messages, claims, makes an
*empty* file of the part's name, and closes: to the feeder the existence of the file is the commit. The seal reads what
is in parts, so it gets small parts, made by the real writer (without fsync), in folders of their own.

With ``--ends N`` only the first and the last N batches are fed; those between have their parts from the beginning, and
the feeder walks past them: that is in the stretch in the middle.

Prints one JSON object; times in seconds, memory in bytes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from pipelines.documents import Batch, Cursor, Document, Origin
from pipelines.parts import sink
from pipelines.parts.footer import Outcome, PartMeta, footer_metadata
from pipelines.parts.layout import part_name
from pipelines.parts.manifest import seal
from pipelines.parts.plan import Plan, PlanEntry
from pipelines.parts.run_document import RunDocument, put_if_absent
from pipelines.parts.schema import row_schema
from pipelines.parts.store import Store
from pipelines.planning import Planner
from pipelines.spec import CorpusSpec, Dtype, Format, ModelRef, Pooling, RunSpec, Shard, embedding_feature
from tasks.app import make_app
from tasks.client import connect, memory_use
from tasks.feed import Window
from tasks.keys import QUEUE_LIST, body_key
from tasks.lead import Lead, Leader
from tasks.ledger import Ledger
from tasks.runs import status
from worker.broker import EmbeddedRedis

DOCUMENTS = 1000
SEGMENT = 64
POINTS = 20
"""So many stretches of the feeding are measured by themselves."""

MODEL = ModelRef("made-up", "/made-up", "", "roberta", "d" * 64, "e" * 64, "f" * 64, 8, 512)
SHARD = Shard("/made-up/corpus.jsonl", "corpus.jsonl", Format.JSONL, "none", 10**12, 0)
SPEC = RunSpec(CorpusSpec((SHARD,)), MODEL, (embedding_feature(MODEL, Pooling.MEAN),), 512, Dtype.FLOAT32, DOCUMENTS)
RUN = RunDocument("scale", SPEC.fingerprint(), "1", "2026-01-01T00:00:00Z", "1%", ("corpus.jsonl",), SPEC)
SCHEMA = row_schema([pa.field("embedding", pa.list_(pa.float32(), 8))], ())


def rss() -> int:
    return int(psutil.Process().memory_info().rss)


def entry(batch: int, documents: int) -> PlanEntry:
    start, end = (Cursor(0, n * documents * 100, n * documents, n * documents) for n in (batch, batch + 1))
    return PlanEntry(batch, batch * documents, documents, start, end, f"{batch:032x}", 100 * documents)


def write_plan(store: Store, batches: int, documents: int) -> dict[str, Any]:
    """The plan, segment by segment; what the first and the last tenth took."""
    put_if_absent(store, RUN)
    plan, marks = Plan(store), []
    for first in range(0, batches, SEGMENT):
        segment = [entry(batch, documents) for batch in range(first, min(first + SEGMENT, batches))]
        begun = time.perf_counter()
        assert plan.append(segment)
        marks.append(time.perf_counter() - begun)
    plan.seal(Cursor(1, 0, 0, batches * documents))
    tenth = max(1, len(marks) // 10)
    means = [statistics.fmean(marks[:tenth]), statistics.fmean(marks[-tenth:])]
    return {"segments": len(marks), "append_first_tenth": means[0], "append_last_tenth": means[1], "rss": rss()}


def play_workers(url: str, root: str) -> None:
    """Every worker there is: takes what is in the queue, claims it, makes the name of its part, closes it."""
    store = Store(Path(root))
    with closing(connect(url)) as client:
        ledger = Ledger(client, RUN.run)
        script, keys = ledger._script, ledger._keys
        client.script_load(script.script)
        while True:
            raw = client.brpop([QUEUE_LIST], timeout=5)
            if raw is None:
                if client.get("stop"):
                    return
                continue
            messages = [raw[1], *(client.rpop(QUEUE_LIST, 16) or [])]
            batches = [int(json.loads(message)["headers"]["id"].rpartition(":")[2]) for message in messages]
            pipe = client.pipeline(transaction=False)
            for batch in batches:
                pipe.evalsha(script.sha, len(keys), *keys, "claim", batch, "me", f"{batch}", 60, 3)
                pipe.get(body_key(RUN.run, batch))
            pipe.execute()
            pipe = client.pipeline(transaction=False)
            for batch in batches:
                touch(store, batch)
                pipe.evalsha(script.sha, len(keys), *keys, "close", batch, DOCUMENTS, DOCUMENTS, 0, 9 * DOCUMENTS)
                pipe.unlink(body_key(RUN.run, batch))
            pipe.execute()


def made_up_batch(planned: PlanEntry) -> Batch:
    items = [
        Document(f"doc-{planned.first + n}", "a few words of nothing", None, Origin(SHARD.uri, n, n)) for n in range(8)
    ]
    return Batch(planned.batch, planned.first, items, start=planned.start, end=planned.end)


def timed(action: Callable[[], Any], into: list[float]) -> Callable[[], Any]:
    def run() -> Any:
        begun = time.perf_counter()
        try:
            return action()
        finally:
            into.append(time.perf_counter() - begun)

    return run


def touch(store: Store, batch: int) -> None:
    os.close(os.open(store.root / part_name(batch), os.O_CREAT | os.O_WRONLY))


def feed(store: Store, batches: int, ends: int, window: int) -> dict[str, Any]:
    """The plan through Redis, one stretch after the other."""
    (store.root / "data").mkdir(exist_ok=True)
    there = range(ends, batches - ends) if ends else range(0)
    for batch in there:
        touch(store, batch)
    batches -= len(there)
    with EmbeddedRedis(2**30) as server, closing(connect(server.client_url)) as client, make_app(server.url) as app:
        leader = Leader(app, client, store, RUN, Window(batches=window), owner="me", plan=True)
        leader.take(by_force=True)
        leader.ledger.open(str(store.root))
        leader.planner.read = made_up_batch  # type: ignore[method-assign]  # replaced on purpose
        sweeps: list[float] = []
        # replaced on purpose
        leader.reconciler.sweep = timed(leader.reconciler.sweep, sweeps)  # type: ignore[method-assign]
        baseline, rss_before = memory_use(client).used, rss()
        workers = multiprocessing.get_context("spawn").Process(
            target=play_workers, args=(server.client_url, str(store.root)), daemon=True
        )
        workers.start()
        points: list[dict[str, Any]] = []
        begun, done, before, looked = time.perf_counter(), 0, 0, 0.0
        stretch, cpu = begun, time.process_time()
        while done < batches:
            if leader.step() is Lead.WORKING:
                if time.perf_counter() - looked < 1.0:
                    continue
            else:
                time.sleep(0.005)
            looked = time.perf_counter()
            done = leader.ledger.state().batches
            if done > before and done >= batches * (len(points) + 1) / POINTS:
                spent, taken = time.process_time() - cpu, looked - stretch
                points.append(
                    {
                        "batches": done,
                        "seconds_per_batch": round(taken / (done - before), 6),
                        "feeder_cpu_per_batch": round(spent / (done - before), 6),
                        "sweep_median": round(statistics.median(sweeps), 6) if sweeps else None,
                        "sweep_worst": round(max(sweeps), 6) if sweeps else None,
                        "rss": rss(),
                        "redis_used": memory_use(client).used,
                    }
                )
                print(json.dumps(points[-1]), file=sys.stderr, flush=True)
                sweeps.clear()
                before, stretch, cpu = done, looked, time.process_time()
        client.set("stop", 1)
        memory, stats = memory_use(client), client.info("commandstats")
        workers.join(30)
        leader.resign()
    calls = {name.removeprefix("cmdstat_"): value["calls"] for name, value in stats.items()}
    return {
        "points": points,
        "seconds": round(time.perf_counter() - begun, 1),
        "redis_baseline": baseline,
        "redis_peak": memory.peak,
        "redis_growth": memory.peak - baseline,
        "rss_before": rss_before,
        "rss_growth": rss() - rss_before,
        "redis_calls_per_batch": {name: round(n / batches, 2) for name, n in calls.items() if n > batches / 10},
    }


def resume(store: Store, batches: int) -> dict[str, Any]:
    """What opening the finished plan again takes, of the clock and of CPU: its end, its backlog, what `status` asks."""
    begun = time.process_time()
    times: dict[str, list[float]] = {"tail": [], "entries": [], "backlog": [], "status": [], "one_entry": []}
    timed(lambda: Plan(store).tail(), times["tail"])()
    timed(lambda: sum(1 for _ in Plan(store).entries()), times["entries"])()
    assert sum(timed(lambda: [1 for _ in Planner(store, SPEC).backlog()], times["backlog"])()) == 0
    assert timed(lambda: status(store, RUN, None), times["status"])().committed == batches
    timed(lambda: Plan(store).entry(batches // 3), times["one_entry"])()
    cpu = round(time.process_time() - begun, 2)
    return {name: round(value[0], 3) for name, value in times.items()} | {"cpu_all": cpu, "rss": rss()}


def measure_seal(root: Path, batches: int, rows: int) -> dict[str, Any]:
    """Parts of few rows, then the seal; in a process of its own, whose peak is the seal's."""
    store = Store(root / f"seal-{batches}")
    begun = time.perf_counter()
    make = multiprocessing.get_context("spawn").Process(target=make_parts, args=(store.root, batches, rows))
    make.start()
    make.join()
    made = time.perf_counter() - begun
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=seal_there, args=(there, store.root))
    process.start()
    there.close()
    return {"parts": batches, "rows_per_part": rows, "making": round(made, 1), **here.recv()}


def make_parts(root: Path, batches: int, rows: int) -> None:
    store = Store(root)
    write_plan(store, batches, rows)
    (root / "data").mkdir()
    os.fsync = lambda _: None  # a power cut would cost the benchmark, no dataset
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(rows * 8, np.float32)), 8)
    ones, digests = pa.array([9] * rows, pa.int32()), pa.array([bytes(16)] * rows, pa.binary(16))
    for batch in range(batches):
        planned = entry(batch, rows)
        ids = pa.array([f"doc-{planned.first + n}" for n in range(rows)], pa.string())
        table = pa.Table.from_arrays([ids, vectors, ones, ones, digests], schema=SCHEMA)
        meta = PartMeta(
            run=RUN.run, spec=SPEC, code_version="1", batch=batch, first=planned.first, count=rows,
            input_digest=planned.input_digest, slot="cpu:0", device="cpu", tokens=9 * rows, tokens_used=9 * rows,
        )  # fmt: skip
        outcome = Outcome(rows=rows, rejects=0, warnings=0, committed_unix_s=float(batch), rejects_by_reason={})
        size, sha256 = sink._write_part(store.path(part_name(batch)), table, footer_metadata(meta, outcome))
        sink.receipts.write(store, batch, size, sha256)


def seal_there(answer: Any, root: Path) -> None:
    store, before, begun, cpu = Store(root), rss(), time.perf_counter(), time.process_time()
    summary = seal(store, RUN)
    taken = time.perf_counter() - begun
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    assert summary.state == "sealed"
    sizes = {"part_bytes": summary.bytes // summary.parts, "manifest_bytes": store.size("_manifest.json")}
    answer.send(
        {
            "seal": round(taken, 2),
            "seal_cpu": round(time.process_time() - cpu, 2),
            "rss_before": before,
            "rss_peak": peak,
            **sizes,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=10**6)
    parser.add_argument("--ends", type=int, default=0)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--seal", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--seal-rows", type=int, default=1)
    given = parser.parse_args()
    store, result = Store(given.out / "plan"), {}
    if given.batches:
        result["plan"] = write_plan(store, given.batches, DOCUMENTS)
        result["feed"] = feed(store, given.batches, given.ends, given.window)
        result["resume"] = resume(store, given.batches)
    result["seal"] = [measure_seal(given.out, parts, given.seal_rows) for parts in given.seal]
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
