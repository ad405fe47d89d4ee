"""The consumer: claim → extract → commit → close. A message is only a hint; the store says whether there is work.

The task ends when the device is done with its batch. What is left, from the commit on, goes on behind it while the next
batch is computed: its message is acknowledged by then, which loses nothing, for the batch has its lease until it is
closed, and whoever finds neither lease nor part publishes it again.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import resource
import socket
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery import Task, shared_task

from pipelines import __version__
from pipelines.documents import Batch, items_digest
from pipelines.errors import (
    BatchError,
    CorpusChangedError,
    InfrastructureError,
    ProcessError,
    RunError,
    SurroundingsError,
)
from pipelines.parts.cancellation import is_cancelled
from pipelines.parts.dead_letter import put_dead_letter
from pipelines.parts.sink import PartMeta, commit, is_committed
from tasks.app import Resources, resources_of
from tasks.deaths import Deaths
from tasks.flight import close_committed
from tasks.job import HAND_BACK_PAUSE_S, Job, claimed, outlived
from tasks.keys import EXTRACT_TASK
from tasks.ledger import Ledger, Verdict
from tasks.loading import NotWantedError
from tasks.reference import BY_REFERENCE, planner_of
from tasks.transport import Bodies, check_planned, decode

if TYPE_CHECKING:  # what computes comes ready from the resources; only the worker's child loads torch
    from pipelines.assembly import Computed

logger = logging.getLogger(__name__)


@shared_task(bind=True, name=EXTRACT_TASK)  # type: ignore[untyped-decorator] # celery has no types
def extract_batch(self: Task, run: str, batch: int) -> None:
    """Make the part of one batch, unless it exists. What does not end in a part, the reconciler publishes again."""
    resources = resources_of(self.app)
    with resources.working(run, batch), outlived(resources):
        job = _prepare(resources, run, batch)
        attempt = _claim(job) if job is not None else None
        if job is not None and attempt is not None:
            done = None
            with claimed(job):
                done = _extract(job, attempt)
            if done is not None:
                resources.write_behind.hand_over(functools.partial(_finish, job, done))


def _prepare(resources: Resources, run: str, number: int) -> Job | None:
    """All that can fail before the claim, so that it costs no attempt; None where there is nothing to do here."""
    ledger, bodies = Ledger(resources.client, run), Bodies(resources.client, run)
    if ledger.state().state != "running":
        return None  # a message that outlived its run, or Redis' memory of it
    delivery = uuid.uuid4().hex
    try:
        store, document = resources.run(run)
        if is_cancelled(store, run):
            return None  # Redis fell back to what it knew before
        committed = is_committed(store, number)
        extractor = None if committed else resources.extractor(document)
        ledger.accept(resources.owner)
    except (InfrastructureError, ProcessError):
        raise
    except NotWantedError:
        return None
    except Exception as error:
        # Also what no one foresaw, MemoryError above all: passed on to Celery it would come back for ever.
        reason = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
        logger.error("This worker cannot do the run: %s", reason, exc_info=not isinstance(error, RunError))
        ledger.refuse(resources.owner, reason)
        # Not handed back as due: the sweeps miss it soon enough, and others get their chance until then.
        time.sleep(HAND_BACK_PAUSE_S)  # nor take the next at once: one that can do nothing is faster than those who can
        return None
    if extractor is None:
        try:
            close_committed(store, ledger, bodies, number)
        except RunError as error:  # the part is damaged: a person must look at it
            ledger.set_state("failed", str(error))
        return None
    return Job(resources, store, document, extractor, ledger, bodies, number, delivery)


def _claim(job: Job) -> int | None:
    """The number of this attempt, counted before the work; None where the batch is not for this worker."""
    answer = job.ledger.claim(
        job.batch,
        owner=job.resources.owner,
        delivery=job.delivery,
        lease_s=job.resources.lease_s,
        max_attempts=job.resources.max_attempts,
    )
    if answer.verdict is Verdict.RUN:
        return int(answer.detail)
    if answer.verdict is Verdict.EXHAUSTED:
        logger.error("Batch %d is a dead letter after %s attempts.", job.batch, answer.detail)
        reason = f"{answer.detail} attempts failed"
        put_dead_letter(job.store, job.document.run, job.batch, reason)
        job.bodies.drop(job.batch)  # first: nobody looks for the body of a batch that is no longer in flight
        job.ledger.bury(job.batch, reason)
    else:
        logger.debug("Batch %d is left alone: %s %s", job.batch, answer.verdict, answer.detail)
    return None


def _taken(job: Job) -> tuple[Batch, str] | None:
    """The documents of the batch and their digest; None where they cannot be had here or now, and it is handed back.

    The plan decides: whatever Redis holds is held against it, and what it has no digest for is not taken from Redis.
    """
    planner = planner_of(job.document.run, job.store.root)
    try:
        entry = planner.plan.entry(job.batch)
    except KeyError:
        raise InfrastructureError(f"The plan in {job.store.root} does not show batch {job.batch} (yet).") from None
    body = BY_REFERENCE if entry.source_digest else job.bodies.get(job.batch)
    if body is None:
        logger.info("The body of batch %d is gone; it will be read from the corpus again.", job.batch)
        job.ledger.release(job.batch, delivery=job.delivery, uncount=True)
        return None
    if body == BY_REFERENCE:
        try:
            planner.check_visible(entry)
            batch = planner.read(entry, lambda: job.renew(0, 0))
        except (SurroundingsError, CorpusChangedError) as error:  # here: others may see the planned file
            logger.error("This worker cannot do the run: %s", error)
            job.ledger.refuse(job.resources.owner, str(error))
            job.ledger.release(job.batch, delivery=job.delivery, uncount=True)
            time.sleep(HAND_BACK_PAUSE_S)  # others get their chance
            return None
        return batch, entry.input_digest or items_digest(batch.items)
    try:
        batch = decode(body, job.document.spec.corpus.keep)
        check_planned(batch, entry)
    except BatchError:
        job.bodies.drop(job.batch)  # the next attempt gets it from the corpus
        raise
    return batch, entry.input_digest


@dataclass(frozen=True, slots=True)
class _Done:
    """A batch that the device is done with: what its part needs."""

    batch: Batch
    digest: str
    attempt: int
    started: float
    computed: Computed
    deaths: Deaths | None
    """Where earlier attempts killed their process, and that has to be forgotten."""


def _extract(job: Job, attempt: int) -> _Done | None:
    """The device's share of the work; None where the documents cannot be had."""
    taken = _taken(job)
    if taken is None:
        return None
    started, deaths = time.time(), Deaths(job.ledger, job.store)
    with job.resources.taking(job.document.run, job.batch) as take:
        suspicion = deaths.suspicion(job.batch)
        computed = job.extractor.compute(taken[0], job.renew, on_taking=take, suspicion=suspicion)
    return _Done(*taken, attempt, started, computed, deaths if suspicion.deaths else None)


def _finish(job: Job, done: _Done) -> None:
    """Commit and close, behind the task; raises nothing: whoever comes next is not to blame for it."""
    with outlived(job.resources), claimed(job):
        with contextlib.suppress(InfrastructureError):  # it may have waited for the batch before
            job.ledger.renew(job.batch, delivery=job.delivery, lease_s=job.resources.lease_s)
        extracted = done.computed.assemble()
        meta = PartMeta(
            run=job.document.run,
            spec=job.document.spec,
            code_version=__version__,
            batch=job.batch,
            first=done.batch.first,
            count=len(done.batch.items),
            input_digest=done.digest,
            attempt=done.attempt,
            host=socket.gethostname(),
            slot=job.resources.slot,
            device=job.resources.device,
            started_unix_s=done.started,
            tokens=extracted.tokens,
            tokens_used=extracted.tokens_used,
            truncated=extracted.truncated,
            repeated=extracted.repeated,
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )
        job.resources.run(job.document.run)  # raises where the folder was removed meanwhile, or is another run's
        committed = commit(job.store, meta, extracted.table, extracted.rejects, extracted.warnings)
        job.bodies.drop(job.batch)  # first: nobody looks for the body of a batch that is no longer in flight
        job.ledger.close(
            job.batch,
            documents=meta.count,
            rows=committed.rows,
            quarantined=committed.rejects,
            tokens=extracted.tokens_used,
        )
        if done.deaths is not None:
            done.deaths.closed(job.batch)
        logger.info(
            "Part committed: %d rows, %d rejects, %d tokens in %.1f s.",
            committed.rows,
            committed.rejects,
            extracted.tokens_used,
            time.time() - done.started,
        )
