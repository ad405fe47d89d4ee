"""A whole run in this process, without queue or workers: the debugger, and the oracle of every chaos test."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Callable, Iterator

from pipelines import __version__
from pipelines.documents import Batch, items_digest
from pipelines.extract import Extractor
from pipelines.forecast import Forecast, Work
from pipelines.parts.limit import Limit
from pipelines.parts.manifest import seal
from pipelines.parts.run_document import RunDocument
from pipelines.parts.sink import PartMeta, commit, is_committed
from pipelines.parts.store import Store
from pipelines.parts.summary import Summary
from pipelines.planning import Planner
from pipelines.proof.process import NO_PROOF, ProofOptions, Prover

OnPart = Callable[[int, int, int | None, Work | None], None]
PROOF_POLL_S = 0.05


def run_inline(
    store: Store,
    document: RunDocument,
    *,
    device: str = "cpu",
    token_budget: int | None = None,
    limit: Limit,
    on_part: OnPart = lambda *_: None,
    proof: ProofOptions = NO_PROOF,
    once: bool = False,
) -> Summary:
    """Plan, extract, commit, prove and seal, batch by batch; a run that was begun is finished.

    ``on_part`` is told documents, tokens, the total of documents (once known) and how much work is done and in all
    after each part. With ``once`` equal texts are computed once.
    Raises whatever the corpus, the model or the storage raise; what is committed stays.
    """
    planner = Planner(store, document.spec)
    extractor = Extractor(document.spec, device=device, token_budget=token_budget, once=once)
    forecast, documents = Forecast(document.spec.corpus, document.spec.max_tokens), 0
    with contextlib.closing(Prover(store, document, proof)) as prover:
        for batch in _batches(planner, forecast):
            started = time.time()
            extracted = extractor.extract(batch)
            meta = PartMeta(
                run=document.run,
                spec=document.spec,
                code_version=__version__,
                batch=batch.number,
                first=batch.first,
                count=len(batch.items),
                input_digest=items_digest(batch.items),
                host=socket.gethostname(),
                slot="inline",
                device=device,
                started_unix_s=started,
                tokens=extracted.tokens,
                tokens_used=extracted.tokens_used,
                truncated=extracted.truncated,
                repeated=extracted.repeated,
                peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            )
            commit(store, meta, extracted.table, extracted.rejects, extracted.warnings)
            totals = planner.plan.totals()
            documents += len(batch.items)
            work = forecast.work(documents, complete=totals is not None)
            on_part(len(batch.items), extracted.tokens_used, totals.documents if totals else None, work)
            prover.look(planner.plan)
        while (proved := prover.result(planner.plan)) is None:
            time.sleep(PROOF_POLL_S)
    return seal(store, document, max_quarantined=limit, dead={}, proof=proved)


def _batches(planner: Planner, forecast: Forecast) -> Iterator[Batch]:
    """What is planned and not committed, then what is not planned, recorded on the way; all of it is forecast."""
    for entry in planner.plan.entries():
        forecast.add(entry, done=is_committed(planner.store, entry.batch))
    for entry in planner.backlog():
        yield planner.read(entry)
    planner.close()
    if planner.plan.totals() is None:
        for batch in planner.fresh():
            planner.record([batch])
            forecast.add(batch)
            yield batch
        planner.seal()
