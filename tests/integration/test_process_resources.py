"""What a worker's child keeps: the models of its last runs, shared where they compute the same, and few documents."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from integration.open_runs import MakeSpec

from pipelines import extract
from pipelines.errors import InputError, SurroundingsError
from pipelines.parts.run_document import RunDocument
from tasks.fleet import dismiss_worker, report_worker
from tasks.keys import RUNS
from tasks.ledger import Ledger
from tasks.loading import NotWantedError, loaders, loading
from tasks.runs import open_run
from worker.breadcrumb import clear, new_path
from worker.broker import EmbeddedRedis
from worker.cli.cancel import _at_work
from worker.process import REMEMBERED_RUNS, ProcessResources
from worker.settings import Settings, SlotIdentity, slot_environment

Open = Callable[..., RunDocument]


@pytest.fixture
def resources(redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessResources]:
    crumb = new_path()
    clear(crumb)
    identity = SlotIdentity("cpu:0", "cpu", 1, "owner", str(crumb))
    for name, value in slot_environment(identity).items():
        monkeypatch.setenv(name, value)
    yield ProcessResources(Settings(broker_url=redis_server.url, model_cache_bytes=1))
    crumb.unlink()


@pytest.fixture
def opened(client: redis.Redis, small_corpus: Path, spec_of: MakeSpec, tmp_path: Path) -> Open:
    """``opened(name, …)``: a run of its own folder that Redis knows."""

    def make(name: str, **changes: object) -> RunDocument:
        spec = replace(spec_of(small_corpus), **changes)
        document = open_run(tmp_path / name, spec, arguments=[], max_quarantined="1%", code_version="1")[1]
        client.hset(RUNS, document.run, str(tmp_path / name))
        return document

    return make


def test_runs_that_compute_the_same_share_their_models(
    resources: ProcessResources, opened: Open, tiny_model: Path, tmp_path: Path
) -> None:
    first = opened("first")
    loaded = resources.extractor(first)
    assert resources.extractor(opened("second", batch_documents=7)) is loaded
    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    model = replace(first.spec.model, source="moved", path=str(moved))
    features = tuple(replace(feature, model=model) for feature in first.spec.features)
    assert resources.extractor(opened("third", model=model, features=features)) is loaded
    other = resources.extractor(opened("fourth", max_tokens=9))
    assert other is not loaded
    assert resources.extractor(opened("fifth", max_tokens=9)) is other
    assert resources.extractor(first) is not loaded  # it went: one byte of memory is allowed


def test_who_loads_a_model_says_so_and_to_whom_it_is_at_work(
    resources: ProcessResources, opened: Open, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, load, seen = opened("first"), extract.Extractor, []

    def watched(*arguments: object, **options: object) -> object:
        seen.append((loaders(client, document.run), _at_work(Ledger(client, document.run))))
        return load(*arguments, **options)

    monkeypatch.setattr(extract, "Extractor", watched)
    report_worker(client, resources.owner, host="h", slot="cpu:0", device="cpu")
    resources.extractor(document)
    resources.extractor(document)
    dismiss_worker(client, resources.owner)
    resources.extractor(opened("other", max_tokens=9))
    resources.extractor(document)  # once more: one byte of memory is allowed, and nobody counts the dead
    assert seen == [({"owner"}, {"owner"}), (set(), set()), ({"owner"}, set())]
    assert loaders(client, document.run) == set()


def test_the_model_of_a_run_that_has_ended_is_not_loaded(
    resources: ProcessResources, opened: Open, client: redis.Redis
) -> None:
    document = opened("first")
    Ledger(client, document.run).set_state("cancelled")
    with pytest.raises(NotWantedError):
        resources.extractor(document)
    assert loaders(client, document.run) == set()


def test_whoever_died_loads_nothing_any_more(opened: Open, client: redis.Redis) -> None:
    ledger = Ledger(client, opened("first").run)
    with loading(client, ledger.run, "w1"), loading(client, ledger.run, "w2"):
        ledger.abandon("w1", uncount=True)
        assert loaders(client, ledger.run) == {"w2"}


def test_a_folder_that_was_removed_or_replaced_is_no_runs_of_before(
    resources: ProcessResources, opened: Open, tmp_path: Path
) -> None:
    document = opened("out")
    store, _ = resources.run(document.run)
    shutil.rmtree(store.root)
    with pytest.raises(SurroundingsError, match="no run that this machine can see"):
        resources.run(document.run)
    opened("out")
    with pytest.raises(InputError, match=f"not to {document.run}"):
        resources.run(document.run)


def test_few_runs_are_remembered(resources: ProcessResources, opened: Open, client: redis.Redis) -> None:
    runs = [opened(f"run-{number}").run for number in range(REMEMBERED_RUNS + 1)]
    documents = [resources.run(run)[1] for run in runs]
    assert [document.run for document in documents] == runs
    assert resources.run(runs[-1])[1] is documents[-1]
    assert resources.run(runs[0])[1] is not documents[0]
    assert len(resources._runs) == REMEMBERED_RUNS
