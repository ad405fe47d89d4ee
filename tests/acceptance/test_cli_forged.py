"""A queue into which somebody else has written: the worker lives, says so in a line, and the dataset is right."""

from __future__ import annotations

import base64
import json
import lzma
import os
import pickle
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
import redis
from acceptance.commands import call
from acceptance.conftest import Ask, Start
from chaos.disturbance import Command, rows, until

from pipelines.documents import Batch, Document
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.planning import Planner
from tasks.keys import EXTRACT_TASK, PREFIX, QUEUE_LIST, UNACKED_HASH, body_key
from tasks.runs import load_run
from tasks.transport import encode
from worker.broker import EmbeddedRedis

DOCUMENTS, PER_BATCH = 200, 20
NOOP = {"PENSTOCK_INCLUDE": "chaos.noop_model", "PYTHONPATH": str(Path(__file__).parents[1])}
OPTIONS = ("--batch-docs", PER_BATCH, "--dtype", "float32")
DROPPED = re.compile(r"An entry of the queue is dropped: (.*)\.")


@pytest.fixture(scope="module")
def thin(make_model: Any, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint that nobody computes with."""
    model: Path = make_model(
        texts, tmp_path_factory.mktemp("thin") / "model", vocab_size=600, max_positions=130, hidden_size=8
    )
    return model


def _message(content: bytes | str, task: object = EXTRACT_TASK, **more: Any) -> bytes:
    """What Celery would take for one of its messages."""
    headers = {"lang": "py", "task": task, "id": "forged", "root_id": "forged", "argsrepr": "()", "kwargsrepr": "{}"}
    packed = content if isinstance(content, bytes) else content.encode()
    wanted: dict[str, Any] = {
        "body": base64.b64encode(packed).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers | more.pop("headers", {}),
        "properties": {
            "correlation_id": "forged",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "penstock.extract"},
            "body_encoding": "base64",
            "delivery_tag": os.urandom(8).hex(),
        },
    }
    return json.dumps(wanted | more).encode()


def _call(run: object, batch: object, **links: Any) -> str:
    return json.dumps([[run, batch], {}, links])


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def _hostile(run: str) -> list[bytes]:
    """Entries that are no messages of ours; and none of them does anything."""
    return [
        b"",
        b"\x00\xff",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 50_000,
        json.dumps("x" * 50 * 2**20).encode(),
        json.dumps({"headers": {}, "properties": {}}).encode(),
        _message(_call(run, 0), task="os.system"),
        _message(_call(run, 0), task="celery.backend_cleanup"),
        _message(_call(run, 0), task=None),
        _message(pickle.dumps(_Evil()), **{"content-type": "application/x-python-serialize"}),
        _message("!!python/object/apply:os.system [touch pwned]", **{"content-type": "application/x-yaml"}),
        _message(zlib.compress(bytes(2**26)), headers={"compression": "application/x-gzip"}),
        _message(lzma.compress(bytes(2**26)), headers={"compression": "application/x-lzma"}),
        _message(json.dumps([[run, 0]] * 3)),
        _message(json.dumps({"run": run})),
        _message("[" * 5_000),
        *(_message(_call(name, 0)) for name in ("../../etc", "/etc/passwd", "..", "", "a\x00b", "a\nb", "r" * 200, 7)),
        *(_message(_call(run, number)) for number in (-1, 10**30, "0", 0.0, None, True, [0], {"a": 0})),
    ]


def _harmless(run: str) -> list[bytes]:
    """Messages that name a run and a batch, but none that there is, or that say more than they may."""
    return [
        _message(_call("0123456789abcdef", 0)),
        _message(_call("no-such-run", 0)),
        _message(_call(run, 999)),
        _message(_call(run, 2**52)),
        _message(_call(run, 1), headers={"timelimit": [0.001, 0.001], "eta": "2999-01-01T00:00:00", "expires": 0}),
        _message(_call(run, 1, callbacks=[{"task": EXTRACT_TASK, "args": ["x", 1]}], chord={"task": "x"})),
    ]


def _unacknowledged() -> list[bytes]:
    """Entries that no worker's consumer left behind."""
    return [b"{}", b"null", b"[1, 2]", b'[[], "", ""]', b'[{"headers": {}}, "x", "y"]', b"\xff", b"[" * 50_000]


def _forge_bodies(client: redis.Redis, store: Store, document: RunDocument) -> int:
    """Put something else in the place of batches 0 to 6."""
    run, keep = document.run, document.spec.corpus.keep
    planner = Planner(store, document.spec)
    good = [planner.read(planner.plan.entry(number)) for number in range(8)]
    planner.close()
    bodies = [encode(batch, keep) for batch in good]
    first = good[2].items[0]
    assert isinstance(first, Document)
    altered = Document(first.id, "what nobody wrote", None, first.origin, first.kept)
    bomb = bytearray(bodies[4])
    place = bomb.index(b"\x28\xb5\x2f\xfd") - 8  # a compressed buffer begins with the size that it says it becomes
    bomb[place : place + 8] = (2**42).to_bytes(8, "little")
    forged = [
        bodies[7],
        encode(Batch(1, good[7].first, good[7].items, [], good[7].start, good[7].end), keep),
        encode(Batch(2, good[2].first, [altered, *good[2].items[1:]], [], good[2].start, good[2].end), keep),
        os.urandom(50 * 2**20),
        bytes(bomb),
        bodies[5][: len(bodies[5]) // 2],
        bodies[6].replace(b'{"number"', b"[" * 9, 1),
    ]
    for number, body in enumerate(forged):
        client.set(body_key(run, number), body)
    return len(forged)


def _tree(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "state" not in path.parts and path.suffix != ".log"}


def test_whatever_is_in_the_queue_the_worker_lives_and_the_rows_are_right(
    many: Path, thin: Path, fresh_redis: EmbeddedRedis, tmp_path: Path, start: Start, ask: Ask
) -> None:
    out, url = tmp_path / "out", fresh_redis.url
    arguments = (many, "--limit", DOCUMENTS, "--model", thin, *OPTIONS)
    expected = call(tmp_path, "run", *arguments, "--out", "expected", "--devices", "cpu", **NOOP)
    assert expected.code == 0, expected.err
    assert ask("submit", *arguments, "--out", out, "--broker", url).code == 0
    store, document = load_run(out)
    before = _tree(tmp_path)
    hostile, harmless = _hostile(document.run), _harmless(document.run)
    with redis.Redis.from_url(fresh_redis.client_url, socket_timeout=120) as client:  # 50 MB take their time
        forged = _forge_bodies(client, store, document)
        for number, entry in enumerate([*hostile, *harmless]):
            (client.rpush if number % 2 else client.lpush)(QUEUE_LIST, entry)  # before and behind the real ones
        for number, entry in enumerate(_unacknowledged()):
            client.hset(UNACKED_HASH, f"forged-{number}", entry)
            client.zadd(f"{UNACKED_HASH}_index", {f"forged-{number}": 1})
        worker = start("worker", "--devices", "cpu", "--broker", url, **NOOP)
        parent = worker.worker_parent().pid
        until(lambda: (out / "_SUCCESS").exists(), "a sealed run", worker)
        until(lambda: not client.exists(QUEUE_LIST) and not client.exists(UNACKED_HASH), "an empty queue", worker)
        packed = _message("x", headers={"compression": "zlib"})
        for broadcast in (b"", b"{}", b"[" * 50_000, b'{"properties": {"delivery_tag": 7}}', packed):
            client.publish(f"{PREFIX}/0.celery.pidbox", broadcast)
        client.lpush(QUEUE_LIST, b"the last")
        until(lambda: not client.exists(QUEUE_LIST), "an emptied queue", worker)
    assert worker.worker_parent().pid == parent
    _assert_said(worker, len(hostile) + 1, forged)
    wanted = rows(tmp_path / "expected")
    assert rows(out).equals(wanted)
    assert ask("verify", out).code == 0
    grown = {path for path in _tree(tmp_path) - before if out not in path.parents}
    assert grown == set()


def _assert_said(worker: Command, dropped: int, forged: int) -> None:
    """A line each, and nothing of what was in them."""
    text = until(lambda: _if_said(worker, dropped), f"{dropped} lines on what was dropped", worker)
    assert "Traceback" not in text
    assert "started anew" not in text
    assert len(DROPPED.findall(text)) == dropped
    assert text.count("An unacknowledged entry is dropped") >= 5  # others lead nowhere, without a word
    assert text.count("An attempt at batch") == forged
    assert "passwd" not in text
    assert "pwned" not in text


def _if_said(worker: Command, dropped: int) -> str:
    text = worker.log.read_text()
    return text if len(DROPPED.findall(text)) >= dropped else ""
