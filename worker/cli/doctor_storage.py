"""What `doctor` looks at where the rows go: what a commit rests on is really done there, and undone."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from pipelines.batching import item_text_bytes
from pipelines.corpus import CorpusOptions, discover, open_corpus
from pipelines.errors import SurroundingsError
from pipelines.parts.store import Store
from tasks.runs import is_locked, locked
from worker.cli.findings import Finding, State
from worker.cli.output import counted, in_bytes

LOW_SPACE_BYTES = 2**30
LOW_FILES = 10_000
ROUNDS, WRITERS = 16, 4
SAMPLE_DOCUMENTS = 1_000
PACKED = 4
"""How much more text a compressed file is taken to hold than it has bytes."""
ROW_BYTES = 64
"""Of a row besides its vectors: id, counts, digest."""


def storage(folder: Path) -> list[Finding]:
    """Whether the folder can be written, refuses the second of several writers of one name, and can be locked."""
    place = existing(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".penstock-doctor-", dir=place) as scratch:
            return [_written(Path(scratch), place), _locked(Path(scratch), place)]
    except OSError as error:
        found = f"{place} cannot be written: {error.strerror}."
        right = ", or give this user the right to write" if isinstance(error, PermissionError) else ""
        return [Finding("storage", State.FAIL, found, f"Choose another --out{right}.")]


def _written(scratch: Path, place: Path) -> Finding:
    store = Store(scratch)
    started = time.monotonic()
    kept = store.probe_put_if_absent()
    durable_s = time.monotonic() - started
    if not kept or any(_winners(store, f"raced-{number}") != 1 for number in range(ROUNDS)):
        return Finding(
            "storage",
            State.FAIL,
            f"{place} lets two writers write one name.",
            "Use a local disk or another file system: a part could be written twice.",
        )
    store.replace("replaced", b"once")
    store.replace("replaced", b"twice")
    if store.read_if_present("replaced") != b"twice":
        found = f"{place} does not show what was just written."
        return Finding("storage", State.FAIL, found, "Use a local disk or another file system.")
    how = "" if _links(scratch) else ", by renaming: it has no hard links"
    found = f"{place} can be written, only once by each name{how}; a durable write takes {durable_s * 1000:,.0f} ms"
    return Finding("storage", State.OK, found)


def _winners(store: Store, name: str) -> int:
    """How many of several writers of one name were told that they are the one."""
    at_once = threading.Barrier(WRITERS)

    def write(number: int) -> bool:
        at_once.wait()
        return store.put_if_absent(name, str(number).encode())

    with ThreadPoolExecutor(WRITERS) as writers:
        return sum(writers.map(write, range(WRITERS)))


def _links(scratch: Path) -> bool:
    (scratch / "linked").touch()
    try:
        os.link(scratch / "linked", scratch / "link")
    except OSError:
        return False
    return True


def _locked(scratch: Path, place: Path) -> Finding:
    """A command locks its run's folder: a second one must see that."""
    store = Store(scratch)
    try:
        with locked(store, command="doctor", broker_url=None):
            if is_locked(store):
                return Finding("locks", State.OK, f"{place} can be locked")
    except SurroundingsError as error:
        found = error.message.replace(str(store.root), str(place))
        return Finding("locks", State.FAIL, found, "Mount it with locking, or choose another --out.")
    return Finding(
        "locks",
        State.FAIL,
        f"{place} lets two commands hold one lock.",
        "Mount it with locking, or choose another --out: two commands could lead one run.",
    )


def free_space(folder: Path, corpus: tuple[str, ...], vector_width: int) -> list[Finding]:
    """Free space where the rows go, and what a run over the corpus would take of it."""
    place = existing(folder)
    free, files = shutil.disk_usage(place).free, os.statvfs(place)
    found = f"{in_bytes(free)} free at {place}"
    if corpus:
        need, documents = _needed(corpus, vector_width)
        about = f"about {documents:,} documents take about {in_bytes(need)}"
        if need > free:
            return [Finding("space", State.FAIL, f"{found}; {about}.", "Free some, or choose another --out.")]
        found = f"{found}; {about}"
        if 2 * need > free:
            return [Finding("space", State.WARN, f"{found}.", "Temporary files need some, too.")]
    if files.f_files > 0 and files.f_favail < LOW_FILES:
        left = counted(files.f_favail, "more file")
        return [Finding("space", State.WARN, f"{found}, but only for {left}.", "A run makes one for each batch.")]
    if not corpus and free < LOW_SPACE_BYTES:
        return [Finding("space", State.WARN, f"{found}.", "100,000 vectors of 768 take about 300 MB.")]
    return [Finding("space", State.OK, found)]


def _needed(corpus: tuple[str, ...], vector_width: int) -> tuple[int, int]:
    """Bytes and documents that a run over a corpus may come to, judged by its first documents; rather too many."""
    spec = discover(list(corpus), CorpusOptions())
    with open_corpus(spec) as reader:
        sample = [item_text_bytes(item) for item in islice(reader, SAMPLE_DOCUMENTS)]
    text_bytes = sum(shard.size * (1 if shard.compression == "none" else PACKED) for shard in spec.shards)
    documents = len(sample)
    if documents == SAMPLE_DOCUMENTS:
        documents = max(documents, int(text_bytes / max(1.0, sum(sample) / documents)))
    return documents * (4 * vector_width + ROW_BYTES), documents


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    place = folder.absolute()
    return next(parent for parent in (place, *place.parents) if parent.is_dir())
