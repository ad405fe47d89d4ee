"""Batches by reference: no document crosses Redis, and the parts are those of documents that did."""

from __future__ import annotations

import bz2
import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from celery import Celery
from integration.open_runs import MakeSpec, Run
from integration.worker_resources import WorkerResources, attempts, deliver, due, parts

from pipelines.errors import UsageError
from pipelines.extract import Extractor
from pipelines.parts import quarantine
from pipelines.parts.limit import Limit
from pipelines.parts.manifest import seal
from pipelines.parts.run_document import Transport, load
from pipelines.parts.sink import read_footer
from pipelines.parts.verify import verify
from tasks import extract, job
from tasks.feed import Feeder, Step, Window
from tasks.reference import BY_REFERENCE
from tasks.runs import load_run, open_run
from tasks.transport import encode
from worker.cli.leading import Opened as OpenedRun
from worker.cli.leading import sent_by

ROWS = [
    {"id": f"doc-{number}", "text": " " if number % 20 == 7 else f"text {number},\nof the river", "n": number}
    for number in range(70)
]


def write_lines(path: Path) -> None:
    path.write_text("\n\n".join(json.dumps(row) for row in ROWS) + "\n{broken\n \n")


def write_compressed(path: Path) -> None:
    write_lines(path)
    path.write_bytes(bz2.compress(path.read_bytes()))


def write_rows(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=25)


def write_table(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text", "n"])
        writer.writeheader()
        writer.writerows(ROWS)


PLAIN: dict[str, Callable[[Path], None]] = {"c.jsonl": write_lines, "c.parquet": write_rows, "c.csv": write_table}
WRITERS = PLAIN | {"c.jsonl.bz2": write_compressed}
Opened = Callable[..., tuple[Run, WorkerResources]]


@pytest.fixture
def opened(
    app: Celery,
    client: redis.Redis,
    spec_of: MakeSpec,
    tmp_path: Path,
    extractors: dict[str, Extractor],
    monkeypatch: pytest.MonkeyPatch,
) -> Opened:
    """``opened(corpus, transport)``: a run and a worker at its side."""
    monkeypatch.setattr(extract, "HAND_BACK_PAUSE_S", 0.0)
    monkeypatch.setattr(job, "HAND_BACK_PAUSE_S", 0.0)

    def make(corpus: Path, transport: Transport) -> tuple[Run, WorkerResources]:
        out = tmp_path / f"{corpus.name}-{transport}"
        spec = spec_of(corpus, keep=("n",))
        store, document = open_run(
            out, spec, arguments=["c"], max_quarantined="1%", code_version="1", transport=transport
        )
        run = Run(app, client, store, document)
        run.ledger.open(str(store.root))
        loaded = extractors.setdefault(spec.fingerprint(), Extractor(spec))
        app.penstock = resources = WorkerResources(client, store, document, loaded)
        return run, resources

    return make


def feed(run: Run) -> None:
    feeder = Feeder(run.planner(), run.ledger, run.publisher, Window(batches=64), plan=True)
    while feeder.step() is Step.PUBLISHED:
        pass
    assert feeder.documents_planned == 70 + run.document.spec.corpus.shards[0].name.startswith("c.jsonl")


def finish(run: Run) -> pa.Table:
    """Deliver every message, seal and verify; the rows, with their quarantine."""
    for batch in run.in_flight():
        deliver(run.app, run, batch)
    assert not run.in_flight()
    assert seal(run.store, run.document, max_quarantined=Limit.parse("100%"), dead={}).state == "sealed"
    assert verify(run.store) == []
    return pa.concat_tables(pq.read_table(run.store.path(f"data/{name}")) for name in sorted(parts(run)))


@pytest.mark.parametrize("name", WRITERS)
def test_parts_are_those_of_documents_that_crossed_redis(opened: Opened, tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    found = {}
    for transport in Transport:
        run, _ = opened(tmp_path / name, transport)
        assert load(run.store) == run.document
        feed(run)
        by_reference = [run.bodies.get(batch) == BY_REFERENCE for batch in run.in_flight()]
        assert len(by_reference) == 3
        assert by_reference == [transport is Transport.REFERENCE and name in PLAIN] * 3
        rows = finish(run)
        footers = [read_footer(run.store, batch) for batch in range(3)]
        rejects = [list(quarantine.read(run.store, footer.quarantine)) for footer in footers]
        entries = list(run.planner().plan.entries())
        places = [(entry.first, entry.count, entry.start, entry.end) for entry in entries]
        found[transport] = rows, rejects, [footer.input_digest for footer in footers], places
        planned_blind = transport is Transport.REFERENCE and name in ("c.jsonl", "c.parquet")
        assert [bool(entry.source_digest) for entry in entries] == [planned_blind] * 3
        assert [bool(entry.input_digest) for entry in entries] == [not planned_blind] * 3
    value, reference = found[Transport.VALUE], found[Transport.REFERENCE]
    assert value[0].drop_columns("embedding").equals(reference[0].drop_columns("embedding"))
    assert value[0]["embedding"].equals(reference[0]["embedding"])
    assert value[1:] == reference[1:]


@pytest.mark.parametrize("planned", Transport)
def test_a_run_goes_on_by_the_other_transport(opened: Opened, tmp_path: Path, planned: Transport) -> None:
    write_lines(tmp_path / "c.jsonl")
    run, _ = opened(tmp_path / "c.jsonl", planned)
    feed(run)
    run.client.flushall()
    run.ledger.open(str(run.store.root))
    other = Transport.VALUE if planned is Transport.REFERENCE else Transport.REFERENCE
    again = Run(run.app, run.client, run.store, replace(run.document, transport=other))
    feed(again)
    # What was planned without reading it has no digest that a body could be held against.
    assert all(run.bodies.get(batch) == BY_REFERENCE for batch in range(3))
    assert finish(again).num_rows == 66


@pytest.mark.parametrize("planned", Transport)
def test_compressed_text_is_published_again_by_value(opened: Opened, tmp_path: Path, planned: Transport) -> None:
    """A worker would decompress all that lies before its batch, for each batch anew."""
    write_compressed(tmp_path / "c.jsonl.bz2")
    run, _ = opened(tmp_path / "c.jsonl.bz2", planned)
    feed(run)
    run.client.flushall()
    run.ledger.open(str(run.store.root))
    again = Run(run.app, run.client, run.store, replace(run.document, transport=Transport.REFERENCE))
    feed(again)
    assert not any(run.bodies.get(batch) == BY_REFERENCE for batch in range(3))
    assert finish(again).num_rows == 66


def test_a_body_is_not_taken_where_the_plan_cannot_tell_it(opened: Opened, tmp_path: Path) -> None:
    write_lines(tmp_path / "c.jsonl")
    run, _ = opened(tmp_path / "c.jsonl", Transport.REFERENCE)
    feed(run)
    batch = run.planner().read(run.planner().plan.entry(0))
    forged = replace(batch, items=[item._replace(id="forged") for item in batch.items])
    run.bodies.put(0, encode(forged, run.document.spec.corpus.keep))
    run.bodies.drop(1)
    ids = finish(run)["id"].to_pylist()
    assert "forged" not in ids
    assert len(ids) == 66


@pytest.mark.parametrize("name", PLAIN)
def test_a_worker_that_sees_another_file_leaves_it_to_others(opened: Opened, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    PLAIN[name](path)
    run, resources = opened(path, Transport.REFERENCE)
    feed(run)
    data = path.read_bytes()
    status = os.stat(path)
    place = data.index(b"river", 2000)
    path.write_bytes(data[:place] + b"RIVER" + data[place + 5 :])
    if name != "c.parquet":  # of lines every byte is known, of Parquet the date
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    refused = next(batch for batch in run.in_flight() if refuses(run, batch))
    assert run.ledger.state().state == "running"
    ((owner, message),) = run.ledger.refusals().items()
    assert owner == resources.owner
    assert f"{path} is not what it was when batch {refused} was planned" in message
    assert (attempts(run, refused), due(run)) == (0, {refused})
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert finish(run).num_rows == 66
    assert not run.ledger.refusals()


def refuses(run: Run, batch: int) -> bool:
    deliver(run.app, run, batch)
    return bool(run.ledger.refusals())


def test_a_worker_that_cannot_see_the_corpus_leaves_it_to_others(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    write_lines(path)
    run, resources = opened(path, Transport.REFERENCE)
    feed(run)
    path.rename(tmp_path / "elsewhere")
    deliver(run.app, run, 1)
    assert run.ledger.state().state == "running"
    ((owner, message),) = run.ledger.refusals().items()
    assert owner == resources.owner
    assert f"{path} cannot be read by this worker" in message
    assert "\n" not in message
    assert (attempts(run, 1), due(run)) == (0, {1})
    (tmp_path / "elsewhere").rename(path)
    assert finish(run).num_rows == 66
    assert not run.ledger.refusals()


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv"])
def test_only_what_helps_is_advised_where_the_corpus_was_moved(
    opened: Opened, spec_of: MakeSpec, tmp_path: Path, name: str
) -> None:
    """What was planned by scanning is read by workers, in the old place, whatever the transport is now."""
    path, moved = tmp_path / name, tmp_path / "elsewhere" / name
    WRITERS[name](path)
    run, _ = opened(path, Transport.REFERENCE)
    feed(run)
    moved.parent.mkdir()
    path.rename(moved)
    there = OpenedRun(
        *open_run(run.store.root, spec_of(moved, keep=("n",)), arguments=["c"], max_quarantined="1%", code_version="1")
    )
    with pytest.raises(UsageError, match=r"The corpus was moved") as caught:
        sent_by(there, {"transport": None})
    assert ("--transport value" in caught.value.hint) == (name == "c.csv")
    if name == "c.csv":
        sent_by(there, {"transport": "value"})
    else:
        with pytest.raises(UsageError, match=r"a link to it, there and `penstock resume .*new run"):
            sent_by(there, {"transport": "value"})
    sent_by(there, {"transport": None, "inline": True})
    path.symlink_to(moved)
    sent_by(OpenedRun(*load_run(run.store.root)), {"transport": None})
    assert finish(run).num_rows == 66
