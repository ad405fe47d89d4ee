"""What must hold after every step, told from the outside: the folder, what of it is durable, the ledger's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
from model.corpora import Corpus
from model.disk import Disk

from pipelines.documents import Stage
from pipelines.parts import quarantine
from pipelines.parts.layout import DATA, MANIFEST, PLAN, SUCCESS, batch_of_part, part_name
from pipelines.parts.limit import Limit
from pipelines.parts.manifest import sealed_head
from pipelines.parts.mend import mend
from pipelines.parts.plan import Plan
from pipelines.parts.run_document import load
from pipelines.parts.sink import read_footer
from pipelines.parts.store import Store
from pipelines.parts.verify import verify
from tasks import ledger
from tasks.keys import run_key
from tasks.ledger import Ledger

Mark = tuple[int, int, int]
LEDGER_KEYS = len(ledger._PARTS)
"""By so many keys a call of the ledger's script is known."""


class Oracle:
    """Watches one run. An AssertionError (or what the product raises over a damaged file) is a fault found."""

    def __init__(
        self, store: Store, disk: Disk, corpus: Corpus, poison: frozenset[str], now: Callable[[], float]
    ) -> None:
        self.store = store
        self.disk = disk
        self.corpus = corpus
        self.poison = poison
        self.now = now
        self.ever: set[int] = set()  # batches that have, or had, a part
        self._parts: dict[str, tuple[Mark, bytes]] = {}
        self._plan: dict[str, Mark] = {}
        self._sealed: tuple[Mark, Mark] | None = None
        self._leases: dict[str, tuple[float, str]] = {}
        self._open: set[str] = set()

    # -- the ledger's answers

    def watch(self, arguments: tuple[Any, ...], answer: Any) -> None:
        """An answer of the ledger: no batch is given to two, nor when it is closed; closed is only what is durable."""
        if arguments[0] != "EVALSHA" or arguments[2] != LEDGER_KEYS:
            return
        step, *more = (str(argument) for argument in arguments[3 + LEDGER_KEYS :])
        batch = more.pop(0) if more else ""
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in answer]
        if step == "publish" and words == ["OK"]:
            self._open.add(batch)
        elif step == "claim" and words[0] == "RUN":
            owner, delivery, lease_s, most = more
            expiry, holder = self._leases.get(batch, (0.0, ""))
            assert holder in ("", delivery) or expiry <= self.now(), f"batch {batch} was given to {owner} and another"
            assert batch in self._open, f"batch {batch} was begun though it is closed"
            assert int(words[1]) <= int(most), f"attempt {words[1]} at batch {batch}"
            self._leases[batch] = self.now() + float(lease_s), delivery
        elif step == "renew" and words[0] == "OK":
            self._leases[batch] = self.now() + float(more[1]), more[0]
        elif step == "release" and self._leases.get(batch, (0.0, ""))[1] == more[0]:
            del self._leases[batch]
        elif step in ("close", "bury"):
            assert step == "bury" or self.disk.is_durable(part_name(int(batch))), f"batch {batch} was closed too early"
            self._leases.pop(batch, None)
            self._open.discard(batch)
        elif step == "abandon":
            for released in words:
                self._leases.pop(released, None)

    def forget(self) -> None:
        """Redis was emptied, or a run was ended in it."""
        self._leases.clear()
        self._open.clear()

    # -- the folder

    def check(self, ledger: Ledger, *, power_was_cut: bool = False) -> None:
        """Every invariant that can be seen now."""
        self._check_parts(power_was_cut)
        self._check_plan(power_was_cut)
        self._check_seal(power_was_cut)
        state = ledger.state()
        assert state.state != "failed", state.message
        planned = {entry.batch: entry.count for entry in self.corpus.entries}
        assert state.batches <= len(self.ever), f"{state.batches} batches counted, {len(self.ever)} have a part"
        assert state.documents <= sum(planned[batch] for batch in self.ever), "documents are counted twice"
        attempts = ledger.client.hvals(run_key(ledger.run, "attempts"))
        assert all(int(count) <= 5 for count in attempts), f"attempts: {attempts}"

    def _check_parts(self, power_was_cut: bool) -> None:
        there = self._marks(DATA)
        gone = self._parts.keys() - there.keys()
        assert power_was_cut or not gone, f"{gone} vanished"
        for name in gone:
            del self._parts[name]
        for name, mark in there.items():
            known = self._parts.get(name)
            if known is not None and known[0] == mark:
                continue
            data = self.store.read(f"{DATA}/{name}")
            if known is None:
                self._check_part(name)
            else:
                assert data == known[1], f"{name} was written twice"
            self._parts[name] = mark, data

    def _check_part(self, name: str) -> None:
        batch = batch_of_part(name)
        assert batch is not None, f"{name} is no name of a part"
        assert batch < len(self.corpus.batches), f"{name} is not in the plan"
        footer, planned, items = read_footer(self.store, batch), self.corpus.entries[batch], self.corpus.batches[batch]
        found = footer.batch, footer.first, footer.count, footer.input_digest
        assert found == (planned.batch, planned.first, planned.count, planned.input_digest), f"{name} is not as planned"
        evidence = list(quarantine.read(self.store, footer.quarantine)) if footer.quarantine else []
        rejects = [reject for reject in evidence if reject.stage is not Stage.WARNING]
        unread = [reject.id for reject in rejects if reject.stage is Stage.READ]
        guilty = [reject.id for reject in rejects if reject.stage is Stage.EXTRACT]
        assert unread == [reject.id for reject in items.rejects]
        wanted = [document.id for document in items.documents]
        assert guilty == [document for document in wanted if document in self.poison], f"{name} condemns {guilty}"
        rows = pq.read_table(self.store.path(f"{DATA}/{name}"), columns=["id"]).column("id").to_pylist()
        assert rows == [document for document in wanted if document not in self.poison], f"{name} holds {rows}"
        self.ever.add(batch)

    def _check_plan(self, power_was_cut: bool) -> None:
        there = self._marks(PLAN)
        if there == self._plan:
            return
        for name, mark in self._plan.items():
            assert power_was_cut or there.get(name) == mark, f"{PLAN}/{name} was changed"
        self._plan = there
        plan = Plan(self.store)
        entries = list(plan.entries())
        assert entries == self.corpus.entries[: len(entries)], "the plan is not the corpus'"
        if plan.totals() is not None:
            assert len(entries) == len(self.corpus.entries), "the plan was closed too early"

    def _check_seal(self, power_was_cut: bool) -> None:
        root = self._marks("")
        if SUCCESS not in root:
            self._sealed = None
            return
        seal = root[SUCCESS], root[MANIFEST]
        if seal == self._sealed and not power_was_cut:
            return
        self._sealed = seal
        assert self.ever == set(range(len(self.corpus.entries))), "sealed before everything was committed"
        for entry in self.corpus.entries:
            assert self.disk.is_durable(part_name(entry.batch)), f"sealed, part {entry.batch} is not durable"
        assert self.differences() == []

    def differences(self) -> list[str]:
        """What ``verify`` finds after ``resume``, which takes away what an attempt that lost has left."""
        document = load(self.store)
        assert document is not None
        assert sealed_head(self.store, document) is not None, "the seal is another manifest's"
        mend(self.store, document, Limit.parse("0"))
        return verify(self.store)

    def check_end(self) -> None:
        """Nothing disturbs the run any more, and it was led to its end."""
        assert self.store.exists(SUCCESS), "the run was not sealed"
        assert self.differences() == []
        rows = pq.read_table(self.store.root / DATA, columns=["id"]).column("id").to_pylist()
        assert rows == [document for document in self.corpus.documents if document not in self.poison]
        evidence = [reject.id for _, reject in quarantine.read_run(self.store) if reject.stage is Stage.EXTRACT]
        assert sorted(evidence) == sorted(self.poison), f"{evidence} are condemned, {self.poison} are guilty"

    def _marks(self, folder: str) -> dict[str, Mark]:
        found = {}
        for name in self.store.scan(folder) if folder else [path.name for path in self.store.root.iterdir()]:
            status = (self.store.root / folder / name).stat()
            found[name] = status.st_ino, status.st_size, status.st_mtime_ns
        return found
