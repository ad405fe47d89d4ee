"""What one document costs at each station of the plumbing, in microseconds of CPU on one core: no queue, no model.

    python tests/benchmarks/unit_costs.py [--documents 100000] [--batch-docs 512] [--repeat 5]

A station is measured by itself, in turn with the others; the median is printed, of CPU time of the process, which other
processes disturb less than the clock. Documents are JSON Lines of about 100 bytes, vectors have 8 numbers. ``redis`` is
what putting, announcing, claiming, reading, closing and dropping a batch costs client and server, for each *batch*.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from plan_scale import RUN, SCHEMA, SPEC

from pipelines.batching import batches
from pipelines.corpus import CorpusOptions, discover, open_corpus
from pipelines.documents import CORPUS_START, Batch, Document, input_digest, items_digest
from pipelines.parts.plan import entry_of
from pipelines.parts.sink import PartMeta, commit
from pipelines.parts.store import Store
from pipelines.ranges import Ranges
from pipelines.spec import CorpusSpec
from tasks.app import make_app
from tasks.client import connect
from tasks.flight import Publisher
from tasks.keys import QUEUE_LIST
from tasks.ledger import Ledger
from tasks.transport import Bodies, decode, encode
from worker.broker import EmbeddedRedis


def write_corpus(path: Path, documents: int) -> None:
    """Short documents as JSON Lines, each of its own words."""
    words = ["river", "pump", "valley", "mill", "turbine", "keeper", "water", "wheel", "gate", "morning", "noise"]
    with path.open("w", encoding="utf-8") as file:
        for n in range(documents):
            text = " ".join(words[(n * 7 + k * (1 + n % 5)) % 11] for k in range(9))
            file.write(f'{{"id": "doc-{n:09d}", "text": "{n} {text}"}}\n')


def rows_of(batch: Batch) -> pa.Table:
    """As the no-op model makes them: the ids, vectors, counts and digests."""
    documents = batch.documents
    digests = [input_digest(document.text, document.pair) for document in documents]
    ones = pa.array(np.ones(len(documents), np.int32))
    numbers = np.frombuffer(b"".join(digests), np.uint16).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), 8)
    ids = pa.array([document.id for document in documents], pa.string())
    return pa.Table.from_arrays([ids, vectors, ones, ones, pa.array(digests, pa.binary(16))], schema=SCHEMA)


class Stations:
    """The stations of the journey, each from what the one before has left."""

    def __init__(self, corpus: CorpusSpec, store: Store, batch_documents: int) -> None:
        self.corpus = corpus
        self.store = store
        self.size = batch_documents
        self.cut = list(self._batches())
        self.bodies = [encode(batch, ()) for batch in self.cut]
        self.tables = [rows_of(batch) for batch in self.cut]

    def _batches(self) -> Any:
        with open_corpus(self.corpus) as reader:
            yield from batches(reader, max_documents=self.size)

    def read(self) -> None:
        with open_corpus(self.corpus) as reader:
            for _ in reader:
                pass

    def read_and_cut(self) -> None:
        for _ in self._batches():
            pass

    def scan(self) -> None:
        """What `--transport reference` does in the place of reading."""
        with Ranges(self.corpus, CORPUS_START, number=0, max_documents=self.size) as ranges:
            assert sum(1 for _ in ranges) == len(self.cut)

    def plan_entries(self) -> None:
        for batch in self.cut:
            entry_of(batch)

    def encode(self) -> None:
        for batch in self.cut:
            encode(batch, ())

    def decode(self) -> None:
        for body in self.bodies:
            decode(body, ())

    def documents_of(self) -> None:
        for batch in self.cut:
            assert isinstance(batch.documents[0], Document)

    def rows(self) -> None:
        for batch in self.cut:
            rows_of(batch)

    def digest(self) -> None:
        for batch in self.cut:
            items_digest(batch.items)

    def commit(self) -> None:
        for batch, table in zip(self.cut, self.tables, strict=True):
            meta = PartMeta(
                run=RUN.run, spec=SPEC, code_version="1", batch=batch.number, first=batch.first,
                count=len(batch.items), input_digest="0" * 32,
            )  # fmt: skip
            assert commit(self.store, meta, table, []).won
        for name in self.store.list("data"):
            (self.store.root / "data" / name).unlink()


STATIONS = ("read", "read_and_cut", "scan", "plan_entries", "encode", "decode", "rows", "digest", "commit")


def redis_costs(cut: list[Batch]) -> dict[str, float]:
    """Microseconds of CPU for each batch: of the feeder, of the worker's own commands, and of the server."""
    with EmbeddedRedis(2**30) as server, closing(connect(server.client_url)) as client, make_app(server.url) as app:
        ledger, bodies = Ledger(client, RUN.run), Bodies(client, RUN.run)
        ledger.open("/made-up")
        publisher = Publisher(app, ledger, bodies, ())
        empty = [replace(batch, items=batch.items[:1]) for batch in cut]
        publisher.publish(empty[0])
        redis = next(child for child in psutil.Process().children() if "redis" in child.name())
        before, network = sum(redis.cpu_times()[:2]), client.info("stats")
        marks = [time.process_time()]
        for batch in empty:
            publisher.publish(batch)
        marks.append(time.process_time())
        for batch in empty:
            client.rpop(QUEUE_LIST)
            ledger.state()
            ledger.claim(batch.number, owner="me", delivery="one", lease_s=60, max_attempts=3)
            bodies.get(batch.number)
            ledger.renew(batch.number, delivery="one", lease_s=60)
            ledger.close(batch.number, documents=1, rows=1, quarantined=0, tokens=1)
            bodies.drop(batch.number)
        marks.append(time.process_time())
        after = client.info("stats")
        moved = [after[key] - network[key] for key in ("total_net_input_bytes", "total_net_output_bytes")]
        spent = [marks[1] - marks[0], marks[2] - marks[1], sum(redis.cpu_times()[:2]) - before]
        bodies_bytes = sum(len(encode(batch, ())) for batch in empty) / len(empty)
        names = ("feeder_us", "worker_us", "server_us")
        return dict(zip(names, (round(s / len(empty) * 1e6) for s in spent), strict=True)) | {
            "bytes_in_without_body": round(moved[0] / len(empty) - bodies_bytes),
            "bytes_out_without_body": round(moved[1] / len(empty) - bodies_bytes),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--batch-docs", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.jsonl"
        write_corpus(path, given.documents)
        store = Store(Path(folder) / "out")
        store.create()
        stations = Stations(discover([str(path)], CorpusOptions()), store, given.batch_docs)
        times: dict[str, list[float]] = {name: [] for name in STATIONS}
        for _ in range(given.repeat):
            for name in STATIONS:
                station: Callable[[], None] = getattr(stations, name)
                gc.collect()
                begun = time.process_time()
                station()
                times[name].append((time.process_time() - begun) / given.documents * 1e6)
        costs = {name: round(statistics.median(values), 2) for name, values in times.items()}
        result = {
            "documents": given.documents,
            "batch_documents": given.batch_docs,
            "us_per_document": costs,
            "bytes_per_document": round(path.stat().st_size / given.documents, 1),
            "body_bytes_per_document": round(sum(map(len, stations.bodies)) / given.documents, 1),
            "redis_per_batch": redis_costs(stations.cut),
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
