"""At each point of a document's journey a process is struck in each way; the rows are those of an undisturbed run."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import redis
from chaos.disturbance import rows
from chaos.failpoints import LEASE_S, POINTS, WAYS
from chaos.journeys import BATCH_DOCUMENTS, BATCHES, Journey, Launcher, Roads
from chaos.noop_model import vectors

from pipelines.documents import input_digest
from worker.address import client_url
from worker.broker import EmbeddedRedis

TESTS = Path(__file__).resolve().parents[1]
AT_A_TIME = 12
SLOTS = 4
CASES = [(point, way) for point in POINTS for way in WAYS]

STATUSES = {
    "kill": ([-signal.SIGKILL, 0],),
    "bug": ([1, 0],),  # "this is a bug in penstock"
    "sleep": ([3, 0], [0, 0]),  # "another process took over the lead", or it finds the run sealed
    "full": ([0],),  # "trying on"
    "broken": ([0],),
}
"""What the commands of a run may end with whose feeder is struck: `submit`, then `resume` where that ended or sleeps.

Where a worker is struck, `submit` goes on and seals the run."""


def document(number: int) -> dict[str, str]:
    """One document in each batch has no text, so that each batch has evidence."""
    return {"id": f"doc-{number}", "text": "" if number % BATCH_DOCUMENTS == 7 else f"document number {number}"}


@pytest.fixture(scope="module")
def roads(
    make_model: Callable[..., Path], texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Roads]:
    """Redis, a worker command with four slots, and a launcher of commands."""
    folder = tmp_path_factory.mktemp("failpoints")
    model = make_model(texts, folder / "model", hidden_size=8, vocab_size=300)
    corpus = folder / "corpus.jsonl"
    with corpus.open("w", encoding="utf-8") as file:
        for number in range(BATCHES * BATCH_DOCUMENTS):
            file.write(json.dumps(document(number)) + "\n")
    (folder / "registry").mkdir()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])),
        "FAILPOINTS": str(folder / "registry"),
        "PENSTOCK_INCLUDE": "chaos.noop_model,chaos.failpoint_places",
        "PENSTOCK_LEASE_S": str(LEASE_S),
        "PENSTOCK_WINDOW": "4",
        "NOOP_MICRO_BATCH": "4",
        "OMP_NUM_THREADS": "1",
    }
    with EmbeddedRedis(256 * 2**20) as server:
        launcher = Launcher(folder, environment)
        try:
            worker = launcher.start(folder, "worker", "--devices", f"cpu:{SLOTS}", "--broker", server.url)
            yield Roads(launcher, corpus, model, server.url)
            os.kill(worker.pid, 0)  # it has outlived them all
            worker.close()
            # What workers say to one another is no message of a stranger.
            assert not re.search(r"(entry|broadcast)\b.* is dropped", worker.log.read_text())
        finally:
            launcher.stop()


@pytest.fixture
def redis_of_the_roads(roads: Roads) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(client_url(roads.broker_url)) as client:
        yield client


@pytest.fixture(scope="module")
def journeys(roads: Roads, request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], Future[Journey]]]:
    """All that the tests of this session ask for, under way at the same time."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    wanted = {
        (item.callspec.params["point"], item.callspec.params["way"])
        for item in items
        if item.originalname == test_struck.__name__ and item.path == Path(__file__)
    }
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {
            (point, way): pool.submit(
                roads.travel, f"{point}-{way}", f"{point} {way}", zombie=POINTS[point].side if way == "sleep" else ""
            )
            for point, way in CASES
            if (point, way) in wanted
        }


@pytest.mark.slow
@pytest.mark.parametrize(("point", "way"), CASES)
def test_struck(journeys: dict[tuple[str, str], Future[Journey]], point: str, way: str) -> None:
    journey = journeys[point, way].result()
    assert journey.noted("fired").startswith(POINTS[point].side), journey.tail()
    if way == "sleep":
        assert journey.noted("awake"), journey.tail()
        assert journey.noted("ended") or POINTS[point].side != "child", journey.tail()
    assert journey.statuses in (STATUSES[way] if POINTS[point].side == "feeder" else ([0],)), journey.tail()
    assert_right(journey)


def test_undisturbed(roads: Roads) -> None:
    journey = roads.travel("undisturbed")
    assert journey.statuses == [0], journey.tail()
    assert_right(journey)


def test_nothing_is_left_in_redis(
    roads: Roads, journeys: dict[tuple[str, str], Future[Journey]], redis_of_the_roads: redis.Redis
) -> None:
    """Whatever was struck: of runs that are sealed Redis keeps their state, and leases that run out by themselves."""
    assert all(not journey.exception() for journey in journeys.values())
    left = {key.decode().rpartition(":run:")[2] for key in redis_of_the_roads.scan_iter("penstock:run:*", count=1000)}
    assert {key for key in left if not key.endswith((":state", ":leases", ":leader"))} == set()


def assert_right(journey: Journey) -> None:
    """A row for each document with its own vector, in the order of the corpus; what has no text is in quarantine."""
    found = rows(journey.out)
    corpus = [document(number) for number in range(BATCHES * BATCH_DOCUMENTS)]
    expected = [entry for entry in corpus if entry["text"]]
    digests = [input_digest(entry["text"], None) for entry in expected]
    assert found.column("id").to_pylist() == [entry["id"] for entry in expected]
    assert found.column("input_digest").to_pylist() == digests
    np.testing.assert_array_equal(embeddings(found), vectors(digests, 8))
    evidence = ds.dataset(journey.out / "_quarantine", format="parquet").to_table().column("id").to_pylist()
    assert sorted(evidence) == sorted(entry["id"] for entry in corpus if not entry["text"])
    assert (journey.out / "_SUCCESS").exists()
    assert journey.verified == 0, journey.tail()


def embeddings(table: pa.Table) -> np.ndarray:
    return np.stack(table.column("embedding").to_numpy())
