"""The child of the fuzzer: reads one input after the other and says whether each kept the readers' promises.

A line of JSON comes in for each input, one goes out. What kills or stops this process is seen by the fuzzer.
"""

from __future__ import annotations

import faulthandler
import itertools
import json
import os
import resource
import signal
import sys
import traceback
from typing import Any

import pyarrow as pa

from pipelines.corpus import CorpusOptions, discover, open_corpus, parse_keep
from pipelines.documents import CORPUS_START, Cursor, Document, Reject, items_digest
from pipelines.errors import InputError, UsageError
from pipelines.spec import CorpusSpec, Format, KeptColumn, Shard, arrow_type

CPU_SECONDS = 5.0
PEAK_BYTES = 2**30
_ADDRESS_BYTES = 8 * 2**30  # so that a finding takes this process and not the machine
_ITEMS = 20_000


def main() -> None:
    """Serve inputs until stdin ends."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_BYTES, _ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        job = json.loads(line)
        _forget_peak()
        # Processor time, and not by the clock: a busy machine is no finding. The signal kills, also within C code.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            fault, items = _read(job["path"], job["options"])
        except Exception:
            fault, items = traceback.format_exc(), 0
        signal.setitimer(signal.ITIMER_PROF, 0)
        if not fault and _peak() > PEAK_BYTES:
            fault = f"the process grew to {_peak()} bytes, at most {PEAK_BYTES} are allowed"
        print(json.dumps({"fault": fault, "items": items}), flush=True)


def _read(path: str, options: dict[str, Any]) -> tuple[str, int]:
    """What was wrong (nothing, if all went well) and the items of an input."""
    try:
        spec = _direct(path, options) if options["direct"] else _discovered(path, options)
    except (InputError, UsageError) as refusal:
        return _refusal_fault(str(refusal), path), 0
    items, cursors, warnings = _items(spec, CORPUS_START, _ITEMS)
    for item in [*items, *warnings]:
        if fault := _item_fault(item, path):
            return fault, len(items)
    documents = [item for item in items if isinstance(item, Document)]
    for index, kept in enumerate(spec.keep):
        wanted = pa.string() if kept.type == "json" else arrow_type(kept.type)
        pa.array([document.kept[index] for document in documents], wanted)
    if cursors[-1].documents != len(items):
        return f"the cursor counts {cursors[-1].documents} items of {len(items)}", len(items)
    middle = len(items) // 2
    again = _items(spec, cursors[middle], len(items) - middle)[0]
    if items_digest(again) != items_digest(items[middle:]):
        return f"reading on at item {middle} of {len(items)} gives other items", len(items)
    return "", len(items)


def _items(spec: CorpusSpec, start: Cursor, count: int) -> tuple[list[Document | Reject], list[Cursor], list[Reject]]:
    with open_corpus(spec, start) as reader:
        items, cursors, warnings = [], [reader.cursor], []
        for item in itertools.islice(reader, count):
            items.append(item)
            cursors.append(reader.cursor)
            warnings += reader.take_warnings()
    return items, cursors, warnings


def _discovered(path: str, options: dict[str, Any]) -> CorpusSpec:
    return discover(
        [path],
        CorpusOptions(
            format=Format.AUTO if options["whole_files"] else Format(options["format"]),
            text_columns=tuple(options["text_columns"]),
            pair_column=options["pair_column"],
            keep=tuple(map(parse_keep, options["keep"])),
            header=options["header"],
            whole_files=options["whole_files"],
            encoding=options["encoding"],
        ),
    )


def _direct(path: str, options: dict[str, Any]) -> CorpusSpec:
    """As a worker reads, who was told what the file is: nothing is looked at before."""
    format_ = "text" if options["whole_files"] or options["format"] == "auto" else options["format"]
    keep = [parse_keep(text) for text in options["keep"]]
    compression = "none" if format_ in ("parquet", "arrow") else options["compression"]
    return CorpusSpec(
        (Shard(path, os.path.basename(path), Format(format_), compression, os.stat(path).st_size, 0),),
        text_columns=tuple(options["text_columns"]),
        pair_column=options["pair_column"],
        keep=tuple(KeptColumn(one.column, one.type or "string", one.name or one.column) for one in keep),
        header=options["header"],
        whole_files=options["whole_files"],
        encoding=options["encoding"],
    )


def _refusal_fault(message: str, path: str) -> str:
    # A column is looked for in all files of a corpus: its refusal lists the columns instead of a file.
    if path not in message and "olumn" not in message:
        return f"a refusal that does not name the file: {message!r}"
    return "" if message.isprintable() else f"a refusal over several lines: {message!r}"


def _item_fault(item: Document | Reject, path: str) -> str:
    texts = (
        [item.id, item.text, item.pair or ""] if isinstance(item, Document) else [item.id, item.detail, item.excerpt]
    )
    for text in texts:
        text.encode()  # raises for what no part could hold
    if item.origin.uri != path or item.origin.offset < 0 or item.origin.line < 0:
        return f"an item without a place: {item.origin}"
    if isinstance(item, Reject) and (not item.reason or not item.detail or "\n" in item.detail):
        return f"a reject without a reason: {item}"
    return ""


def _forget_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak() -> int:
    with open("/proc/self/status") as file:
        return int(file.read().split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
