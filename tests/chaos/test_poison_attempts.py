"""What is nobody's fault costs no attempt: with a single one allowed, one that was counted would make a dead letter."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
import redis
from chaos.disturbance import Command, rows, until
from chaos.poison_corpus import text_of

from pipelines.parts.run_document import load
from pipelines.parts.store import Store
from tasks.ledger import Ledger
from worker.broker import EmbeddedRedis

TESTS = Path(__file__).resolve().parents[1]
DISTURBANCES = int(os.environ.get("DISTURBANCES", "4"))
BATCH_DOCS = 160
BATCHES = 4 + 2 * DISTURBANCES // 4
Start = Callable[..., Command]


class Fleet:
    """A run with one worker command, whose batches take two seconds each."""

    def __init__(self, start: Start, server: EmbeddedRedis, folder: Path, model: Path) -> None:
        self.start = start
        self.server = server
        self.out = folder / "out"
        self.full = folder / "full"
        corpus = folder / "corpus.jsonl"
        with corpus.open("w") as file:
            for number in range(BATCHES * BATCH_DOCS):
                file.write(json.dumps({"id": f"doc-{number}", "text": text_of(number)}) + "\n")
        submit = ("submit", corpus, "--out", self.out, "--model", model, "--batch-docs", BATCH_DOCS)
        feeder = self.command(*submit, "--dtype", "float32")
        assert feeder.wait() == 0, feeder.tail()
        document = load(Store(self.out))
        assert document is not None
        self.run = document.run
        self.worker = self.serve()

    def command(self, *arguments: object) -> Command:
        return self.start(
            *arguments,
            PENSTOCK_BROKER_URL=self.server.url,
            PENSTOCK_INCLUDE="chaos.noop_model,chaos.poison_storage",
            PENSTOCK_MAX_ATTEMPTS="1",
            PENSTOCK_LEASE_S="60",
            PENSTOCK_SOFT_SHUTDOWN_TIMEOUT_S="0.5",
            PYTHONPATH=os.pathsep.join([str(TESTS), str(TESTS.parent)]),
            POISON_STORAGE=str(self.full),
            NOOP_MICRO_BATCH="16",
            NOOP_PAUSE_S="0.2",
        )

    def serve(self) -> Command:
        return self.command("worker", "--devices", "cpu")

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        with redis.Redis.from_url(self.server.client_url) as client:
            yield Ledger(client, self.run)

    def leases(self) -> dict[bytes, bytes]:
        """Batch → lease of those that somebody works on; fails the test where an attempt was counted."""
        with self.ledger() as ledger:
            assert not ledger.dead()
            assert ledger.state().state in ("running", "sealed")
            return cast(dict[bytes, bytes], ledger.client.hgetall(f"penstock:run:{self.run}:leases"))

    def until_midway(self) -> None:
        """Wait until a batch has come some way: its lease has been renewed."""
        first = until(self.leases, "a lease", self.worker)
        until(lambda: (now := self.leases()) and now != first, "a renewed lease", self.worker)


def kill_parent(fleet: Fleet) -> None:
    fleet.worker.worker_parent().kill()


def end_in_order(fleet: Fleet) -> None:
    fleet.worker.process.send_signal(signal.SIGTERM)
    assert fleet.worker.wait() == 0, fleet.worker.tail()
    fleet.worker = fleet.serve()


def kill_redis(fleet: Fleet) -> None:
    fleet.server.kill()
    fleet.server.start()


def fill_storage(fleet: Fleet) -> None:
    fleet.full.touch()
    until(lambda: fleet.full.stat().st_size, "a refusal of the storage", fleet.worker)
    fleet.full.unlink()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_infrastructure_uses_no_attempts(
    start: Start, fresh_redis: EmbeddedRedis, thin_model: Path, tmp_path: Path
) -> None:
    fleet = Fleet(start, fresh_redis, tmp_path, thin_model)
    ways = (kill_parent, end_in_order, kill_redis, fill_storage)
    for number in range(DISTURBANCES):
        fleet.until_midway()
        ways[number % len(ways)](fleet)
    until(lambda: not fleet.leases() and (fleet.out / "_SUCCESS").exists(), "a seal", fleet.worker)
    assert rows(fleet.out).column("id").to_pylist() == [f"doc-{number}" for number in range(BATCHES * BATCH_DOCS)]
