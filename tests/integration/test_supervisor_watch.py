"""The watch over worker processes that do not get on: real processes and leases, and no Celery in them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import redis
from integration.open_runs import Run
from integration.worker_resources import attempts

from pipelines.documents import Reason
from tasks.deaths import Deaths
from tasks.keys import QUEUE_LIST
from worker.breadcrumb import Trail, clear, mark_hung, read
from worker.broker import EmbeddedRedis
from worker.gpu import Slot
from worker.process import ProcessResources
from worker.settings import Settings, SlotIdentity, slot_environment
from worker.supervisor import Supervisor, _WorkerProcess

LONG_AGO_S = -1000.0


@pytest.fixture
def supervisor(redis_server: EmbeddedRedis, client: redis.Redis) -> Iterator[Supervisor]:
    """Over one process that sleeps."""
    supervisor = Supervisor(Settings(broker_url=redis_server.url), [Slot("cpu:0", "cpu", 1)], client)
    worker = watched(supervisor)
    worker.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    worker.owner, worker.started = "host:1:cpu:0:1", time.monotonic()
    yield supervisor
    worker.process.kill()
    worker.process.wait()
    worker.breadcrumb.unlink()


def watched(supervisor: Supervisor) -> _WorkerProcess:
    return supervisor._workers[0]


def is_killed(supervisor: Supervisor) -> bool:
    process = watched(supervisor).process
    assert process is not None
    if not watched(supervisor).is_stuck:
        return False
    return process.wait(timeout=60) == -9


def claim(run: Run, supervisor: Supervisor) -> None:
    """A lease that ran out long ago."""
    run.ledger.publish(0, 1)
    owner = watched(supervisor).owner
    run.ledger.claim(0, owner=owner, delivery="d", lease_s=LONG_AGO_S, max_attempts=5)


def test_a_micro_batch_within_its_time_is_let_be(run: Run, supervisor: Supervisor) -> None:
    claim(run, supervisor)
    Trail(watched(supervisor).breadcrumb, 600).drop(run.document.run, 0, "forward", [3, 4])
    supervisor._end_stuck()
    assert not is_killed(supervisor)


def test_a_batch_without_anything_in_hand_is_taken_away(run: Run, supervisor: Supervisor) -> None:
    claim(run, supervisor)
    supervisor._end_stuck()
    assert is_killed(supervisor)
    supervisor._bequeath(watched(supervisor))
    assert Deaths(run.ledger, run.store).suspicion(0).deaths == 0
    assert (attempts(run), run.ledger.owners()) == (1, set())


def test_what_a_stuck_process_had_in_hand_is_suspect(run: Run, supervisor: Supervisor) -> None:
    deaths, worker = Deaths(run.ledger, run.store), watched(supervisor)
    for count, counted in ((1, 1), (2, 1), (3, 0)):  # the first explains nothing; guilt wipes the slate
        claim(run, supervisor)
        Trail(worker.breadcrumb, 0.0).drop(run.document.run, 0, "forward", [3])
        mark_hung(worker.breadcrumb)
        supervisor._end_stuck()
        assert is_killed(supervisor)
        supervisor._bequeath(worker)
        assert deaths.suspicion(0).alone == {3: count}
        assert (attempts(run), run.ledger.owners()) == (counted, set())
    assert deaths.suspicion(0).guilty[3].reason is Reason.TIMEOUT


def test_a_worker_that_can_do_no_run_may_sit_idle(run: Run, supervisor: Supervisor, client: redis.Redis) -> None:
    client.rpush(QUEUE_LIST, "work")
    supervisor.idle_limit_s = supervisor.start_limit_s = 0.0
    run.ledger.refuse(watched(supervisor).owner, "no such model here")
    supervisor._end_stuck()
    assert not is_killed(supervisor)
    run.ledger.accept(watched(supervisor).owner)
    supervisor._end_stuck()
    time.sleep(0.01)
    supervisor._end_stuck()
    assert is_killed(supervisor)


def test_who_waits_for_a_message_while_there_are_some_is_ended_sooner_than_who_loads_a_model(
    supervisor: Supervisor, client: redis.Redis
) -> None:
    """The child says itself which of the two it does; its word counts while it lives."""
    client.rpush(QUEUE_LIST, "work")
    supervisor.idle_limit_s = 0.0
    child = Trail(watched(supervisor).breadcrumb, 60.0)
    supervisor._end_stuck()
    time.sleep(0.01)
    supervisor._end_stuck()
    assert not is_killed(supervisor)  # it has not started yet
    child.wait()
    child.wake()
    supervisor._end_stuck()
    assert not is_killed(supervisor)  # a message, and no lease yet
    child.wait()
    time.sleep(0.01)
    supervisor._end_stuck()
    assert is_killed(supervisor)


def test_nobody_is_blamed_for_what_went_on_while_redis_was_away(supervisor: Supervisor, client: redis.Redis) -> None:
    client.rpush(QUEUE_LIST, "work")
    worker = watched(supervisor)
    Trail(worker.breadcrumb, 60.0).wait()
    supervisor._end_stuck()
    supervisor._watched -= 600.0
    worker.busy_at = worker.started = time.monotonic() - 600.0
    clear(worker.breadcrumb)
    supervisor._end_stuck()
    assert not is_killed(supervisor)


def test_leases_outlast_the_time_of_slow_micro_batches(
    supervisor: Supervisor, redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    crumb = watched(supervisor).breadcrumb
    for name, value in slot_environment(SlotIdentity("cpu:0", "cpu", 1, "owner", str(crumb))).items():
        monkeypatch.setenv(name, value)
    resources = ProcessResources(Settings(broker_url=redis_server.url, lease_s=1.0, hang_limit_s=1.0))
    assert resources.lease_s == 1.0
    with resources.taking("run", 0) as take:
        take("forward", [1])
        time.sleep(0.1)
        take("forward", [2])
        found = read(crumb)
        assert found is not None
        assert resources.lease_s > found.limit_s >= 20 * 0.1
    resources.client.close()
