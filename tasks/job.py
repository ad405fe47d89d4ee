"""One batch in the hands of this worker, and what becomes of it where something goes wrong."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import BatchError, InfrastructureError, ProcessError, RunError
from pipelines.parts.cancellation import is_cancelled
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from tasks.app import Resources
from tasks.ledger import Ledger, Verdict
from tasks.transport import Bodies

if TYPE_CHECKING:  # the extractor comes ready from the resources; only the worker's child loads torch
    from pipelines.extract import Extractor

logger = logging.getLogger(__name__)
RELEASE_PAUSE_S = 0.5
HAND_BACK_PAUSE_S = 3.0
"""Wait after a fault outside the batch, so that a full disk or a missing folder is no busy loop."""
RENEWAL_PAUSE_S = 1.0
RENEWALS = 20
"""In the time of one lease, at the most; a device may do hundreds of micro-batches in a second."""


class Dropped(Exception):  # noqa: N818 - not an error: the work is not wanted any more
    """The run was cancelled, or the batch belongs to another worker by now."""


@dataclass(slots=True)
class Job:
    """One batch in the hands of this worker; ``renewed_s`` is when its lease was last seen to (monotonic clock)."""

    resources: Resources
    store: Store
    document: RunDocument
    extractor: Extractor
    ledger: Ledger
    bodies: Bodies
    batch: int
    delivery: str
    renewed_s: float = -math.inf

    def renew(self, documents: int, tokens: int) -> None:
        """Progress: a micro-batch is done, and once in a second the lease is renewed and the run's state looked at.

        Redis being away is no reason to stop; the commit decides. Raises Dropped where nobody wants the batch any more.
        """
        del documents, tokens
        now = time.monotonic()
        if now < self.renewed_s + min(RENEWAL_PAUSE_S, self.resources.lease_s / RENEWALS):
            return
        self.renewed_s = now
        with contextlib.suppress(InfrastructureError):
            answer = self.ledger.renew(self.batch, delivery=self.delivery, lease_s=self.resources.lease_s)
            if answer.verdict in (Verdict.STOPPED, Verdict.LOST):
                raise Dropped(f"{answer.verdict.lower()}: {answer.detail}")
            if answer.verdict is Verdict.FORGOTTEN and is_cancelled(self.store, self.document.run):
                raise Dropped("stopped: cancelled, before Redis was emptied")


@contextlib.contextmanager
def outlived(resources: Resources) -> Iterator[None]:
    """What is not the batch's fault: it was handed back, and this process goes on, or a new one does."""
    try:
        yield
    except InfrastructureError as error:
        logger.warning("%s The batch will be published again.", error)
        time.sleep(HAND_BACK_PAUSE_S)
    except ProcessError as error:
        logger.error("%s This process ends and is started anew.", error)
        resources.leave()


@contextlib.contextmanager
def claimed(job: Job) -> Iterator[None]:
    """Whatever goes wrong under the claim, the batch is handed back as the class of the error demands."""

    def release(*, uncount: bool) -> None:
        # While Redis is away there is nothing else to do; after that the lease runs out, and the attempt would count.
        until = time.monotonic() + job.resources.lease_s
        while True:
            try:
                return job.ledger.release(job.batch, delivery=job.delivery, uncount=uncount)
            except InfrastructureError:
                if time.monotonic() >= until:
                    return None
                time.sleep(RELEASE_PAUSE_S)

    try:
        yield
    except Dropped as reason:
        logger.info("Batch %d is dropped (%s).", job.batch, reason)
        release(uncount=True)
    except (InfrastructureError, ProcessError):
        release(uncount=True)
        raise
    except RunError as error:
        logger.error("The run fails: %s", error)
        release(uncount=True)
        job.ledger.set_state("failed", str(error))
    except BatchError as error:
        logger.error("An attempt at batch %d failed: %s", job.batch, error)
        release(uncount=False)
    except Exception as error:
        # MemoryError must not reach Celery: it would end the worker and bring the message back for ever.
        logger.error("An attempt at batch %d failed: %s: %s", job.batch, type(error).__name__, error, exc_info=True)
        release(uncount=False)
