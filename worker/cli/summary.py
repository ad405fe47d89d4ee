"""A run in words and as JSON: what it will be (--dry-run), that it is fed, what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.corpus import open_corpus
from pipelines.documents import Document
from pipelines.parts.layout import DATA
from pipelines.parts.plan import Plan
from pipelines.parts.proof_record import Proof, proof_to_json
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.parts.summary import Summary
from pipelines.spec import Long, LongTexts, RunSpec
from worker.cli.output import counted, in_bytes

SAMPLE = 3


def summary_json(
    summary: Summary, proof: Proof | None, long: LongTexts, *, seconds_total: float, redis_peak_bytes: int
) -> dict[str, Any]:
    """The object of ``run --json`` (contract). Rates are over ``seconds``: first batch claimed to last committed."""
    value = summary.to_json()
    seconds = max(summary.seconds, 1e-9)
    return {
        **value,
        "seconds": round(summary.seconds, 3),
        "seconds_total": round(seconds_total, 3),
        "documents_per_second": round(summary.documents / seconds, 3) if summary.documents else 0.0,
        "tokens_per_second": round(summary.tokens_used / seconds, 3) if summary.tokens_used else 0.0,
        "redis_peak_bytes": redis_peak_bytes,
        "long": str(long.policy),
        "tokens_lost": summary.tokens - summary.tokens_used,
        "proof": proof_to_json(proof) if proof else None,
    }


def summary_text(value: Mapping[str, Any]) -> str:
    """The same for a person."""
    total = (
        f", {value['seconds_total']:,.1f} s in this command" if value["seconds_total"] else ""
    )  # 0: it was there already
    lines = [
        f"Sealed: {counted(value['rows'], 'row')} of {counted(value['documents'], 'document')} in "
        f"{counted(value['parts'], 'part')}, "
        f"{in_bytes(value['bytes'])}.",
        f"  {value['documents_per_second']:,.1f} documents/s, {value['tokens_per_second']:,.0f} tokens/s "
        f"({value['seconds']:,.1f} s at work{total})",
    ]
    if value["truncated"]:
        lines.append(
            f"  Longer than --max-tokens: {counted(value['truncated'], 'document')}, of which "
            f"{value['tokens_used']:,} of {value['tokens']:,} tokens were used"
        )
    if value["long"] == Long.WINDOW:
        lines.append("  Long documents were read in windows, column n_windows says in how many: no token was left out")
    if value["repeated"]:
        lines.append(f"  Not computed again, for an earlier one has the same text: {counted(value['repeated'], 'row')}")
    if value["quarantined"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in value["quarantined_by_reason"].items())
        lines.append(f"  {value['quarantined']:,} in quarantine: {reasons} (`penstock quarantine show {value['out']}`)")
    if value["duplicate_ids"]:
        lines.append(f"  {counted(value['duplicate_ids'], 'row')} with an id that an earlier row has")
    several = len({worker["host"] for worker in value["workers"]}) > 1
    lines += [
        f"  {worker['host'] + ' ' if several else ''}{worker['slot']}: {counted(worker['documents'], 'document')}, "
        f"peak memory {in_bytes(worker['peak_rss_bytes'])}"
        for worker in value["workers"]
    ]
    if value["proof"]:
        lines.append(f"  Proof: {_proof_text(value['proof'])}")
    lines.append(f"Dataset: {value['out']}/{DATA}")
    return "\n".join(lines)


def _proof_text(proof: Mapping[str, Any]) -> str:
    if proof.get("not_made"):
        return f"not made: {proof['not_made']}"
    said = [f"{counted(proof['documents'], 'document')} once more by transformers in {proof['seconds']:,.1f} s"]
    for name, words in (("cosine_distance", "cosine distance"), ("probability_difference", "probabilities apart by")):
        if proof[f"max_{name}"] is not None:
            said.append(f"{words} at most {proof[f'max_{name}']:.1g} (allowed: {proof[f'allowed_{name}']:.1g})")
    if proof["max_score_difference"] is not None:
        allowed = proof["allowed_probability_difference"]
        said.append(f"scores apart by at most {proof['max_score_difference']:.1g} (allowed: {allowed:.1g})")
    if proof["label_flips"] is not None:
        said.append(f"{counted(proof['label_flips'], 'other label')}")
    return ", ".join(said)


def fed_json(document: RunDocument, store: Store, *, workers: int) -> dict[str, Any]:
    """A run that is fed and left to its workers, of which so many processes listen now."""
    totals = Plan(store).totals()
    return {
        "run": document.run,
        "out": str(store.root),
        "state": "running",
        "documents": totals.documents if totals else 0,
        "batches": totals.batches if totals else 0,
        "live_workers": workers,
    }


def fed_text(document: RunDocument, store: Store, *, workers: int) -> str:
    """The same for a person."""
    value = fed_json(document, store, workers=workers)
    goes_on = "The workers go on" if workers else "No worker listens yet (`penstock worker` starts one)"
    return (
        f"Run {value['run']} is fed: {counted(value['documents'], 'document')} in "
        f"{counted(value['batches'], 'batch', 'batches')}. "
        f"{goes_on}; `penstock status {value['out']}` says how far they are."
    )


def dry_run_json(spec: RunSpec, out: Path) -> dict[str, Any]:
    """What a run would read, compute and write, with its first documents."""
    sample: list[dict[str, str]] = []
    with open_corpus(spec.corpus) as reader:
        for item in reader:
            text = item.text if isinstance(item, Document) else f"rejected: {item.reason} ({item.detail})"
            sample.append({"id": item.id, "text": text[:200]})
            if len(sample) == SAMPLE:
                break
    return {
        "out": str(out),
        "dry_run": True,
        "fingerprint": spec.fingerprint(),
        "files": len(spec.corpus.shards),
        "corpus_bytes": sum(shard.size for shard in spec.corpus.shards),
        "model": spec.model.source,
        "model_digest": spec.model.digest,
        "dtype": spec.dtype,
        "max_tokens": spec.max_tokens,
        "batch_docs": spec.batch_documents,
        "columns": list(spec.column_names),
        "sample": sample,
    }


def dry_run_text(spec: RunSpec, out: Path) -> str:
    """The same for a person."""
    value = dry_run_json(spec, out)
    lines = [
        f"Would read {value['files']:,} file(s), {in_bytes(value['corpus_bytes'])}, in batches of "
        f"{value['batch_docs']:,} documents,",
        f"compute with {value['model']} in {value['dtype']}, at most {value['max_tokens']:,} tokens a document,",
        f"and write {', '.join(value['columns'])} to {out / DATA}. The first documents:",
        *(f"  {document['id']}: {' '.join(document['text'].split())[:90]}" for document in value["sample"]),
        "Nothing was written.",
    ]
    return "\n".join(lines)
