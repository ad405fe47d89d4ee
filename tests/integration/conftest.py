"""An emptied Redis with a Celery app on it, and a small run in a folder: what everything that crosses Redis needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from integration.leading import MakeLeader
from integration.open_runs import MakeSpec, Run
from integration.worker_resources import WorkerResources

from pipelines.corpus import CorpusOptions, parse_keep
from pipelines.documents import items_digest
from pipelines.extract import Extractor
from pipelines.opening import Request, make_spec
from pipelines.parts import sink
from pipelines.parts.sink import PartMeta
from pipelines.proof.process import NO_PROOF, ProofOptions
from pipelines.spec import Dtype, RunSpec
from tasks import extract, job, lead, reconcile
from tasks.app import make_app
from tasks.client import connect
from tasks.feed import Window
from tasks.lead import Leader
from tasks.runs import open_run
from worker.broker import EmbeddedRedis


@pytest.fixture
def client(redis_server: EmbeddedRedis) -> Iterator[redis.Redis]:
    """A client of the session's Redis, emptied."""
    with connect(redis_server.client_url) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def app(redis_server: EmbeddedRedis, client: redis.Redis) -> Iterator[Celery]:
    """The Celery app on the same Redis."""
    with make_app(redis_server.url) as celery:
        yield celery


@pytest.fixture
def spec_of(tiny_model: Path) -> MakeSpec:
    """``spec_of(corpus, batch_documents=…, keep=…)``: a spec on the small model."""

    def make(*corpus: Path, batch_documents: int = 30, keep: tuple[str, ...] = (), max_tokens: int = 16) -> RunSpec:
        return make_spec(
            Request(
                arguments=tuple(str(path) for path in corpus),
                corpus=CorpusOptions(keep=tuple(parse_keep(text) for text in keep)),
                model=str(tiny_model),
                dtype=Dtype.FLOAT32,
                batch_documents=batch_documents,
                max_tokens=max_tokens,
            )
        )

    return make


@pytest.fixture(scope="session")
def extractors() -> dict[str, Extractor]:
    """The loaded models of the session, by fingerprint of their spec."""
    return {}


@pytest.fixture
def commit(extractors: dict[str, Extractor]) -> Callable[..., None]:
    """``commit(run, 3, 4)``: make the parts of planned batches, past Redis."""

    def make(run: Run, *batches: int) -> None:
        spec = run.document.spec
        extractor = extractors.setdefault(spec.fingerprint(), Extractor(spec))
        planner = run.planner()
        for number in batches:
            batch = planner.read(planner.plan.entry(number))
            extracted = extractor.extract(batch)
            meta = PartMeta(
                run=run.document.run,
                spec=spec,
                code_version="1",
                batch=number,
                first=batch.first,
                count=len(batch.items),
                input_digest=items_digest(batch.items),
                tokens_used=extracted.tokens_used,
            )
            assert sink.commit(run.store, meta, extracted.table, extracted.rejects).won
        planner.close()

    return make


@pytest.fixture
def run(app: Celery, client: redis.Redis, spec_of: MakeSpec, small_corpus: Path, tmp_path: Path) -> Run:
    """The small corpus, 300 documents, as a run that Redis knows."""
    store, document = open_run(
        tmp_path / "out", spec_of(small_corpus), arguments=["corpus.jsonl"], max_quarantined="1%", code_version="1"
    )
    made = Run(app, client, store, document)
    made.ledger.open(str(store.root))
    return made


@pytest.fixture
def worker(run: Run, extractors: dict[str, Extractor], monkeypatch: pytest.MonkeyPatch) -> WorkerResources:
    """The resources of a worker's child, on the run's app: tasks of that app are done in this process."""
    monkeypatch.setattr(extract, "HAND_BACK_PAUSE_S", 0.0)
    monkeypatch.setattr(job, "HAND_BACK_PAUSE_S", 0.0)
    spec = run.document.spec
    loaded = extractors.setdefault(spec.fingerprint(), Extractor(spec))
    resources = WorkerResources(run.client, run.store, run.document, loaded)
    run.app.penstock = resources
    return resources


@pytest.fixture
def three_in_flight(run: Run) -> None:
    """The whole run is planned, and its first three batches are in flight."""
    run.plan()
    run.publish(0, 1, 2)


@pytest.fixture
def leader_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> MakeLeader:
    """``leader_of(owner, plan=…)``: a leader that sweeps at every step and is quick to miss a message."""
    monkeypatch.setattr(lead, "SWEEP_INTERVAL_S", 0.0)
    monkeypatch.setattr(reconcile, "LOST_AFTER_S", -1.0)

    def make(owner: str = "me", *, plan: bool = True, proof: ProofOptions = NO_PROOF) -> Leader:
        window = Window(batches=4)
        return Leader(run.app, run.client, run.store, run.document, window, owner=owner, plan=plan, proof=proof)

    return make
