"""Redis' own registers as somebody else may have left them: what cannot be a run or a worker is none."""

from __future__ import annotations

import json

import pytest
import redis

from tasks.fleet import live_workers, report_worker
from tasks.keys import RUNS, WORKERS
from tasks.ledger import Ledger, known_runs

ODD = ["../../etc", "/etc", "", "..", ".x", "a:b", "a\nb", b"\xff", "r" * 129]


def test_what_cannot_be_a_run_is_none(client: redis.Redis) -> None:
    Ledger(client, "r1").open("/out")
    for name in ODD:
        client.hset(RUNS, name, "/out")
    client.hset(RUNS, "r2", b"/out\xff\x00")
    assert set(known_runs(client)) == {"r1", "r2"}


@pytest.mark.parametrize(
    "value", [b"", b"{", b"\xff", b"null", b"[]", b"7", b"[" * 100_000, json.dumps({"host": "h", "seen": {}}).encode()]
)
def test_what_is_no_report_of_a_worker_is_struck_off(client: redis.Redis, value: bytes) -> None:
    report_worker(client, "w1", host="h", slot="cpu:0", device="cpu")
    client.hset(WORKERS, b"odd\xff", value)
    assert [entry.owner for entry in live_workers(client)] == ["w1"]
    assert client.hlen(WORKERS) == 1
