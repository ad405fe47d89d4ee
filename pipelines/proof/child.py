"""The process that makes a proof: reads what to prove, asks the oracle, says what came of it. Nobody imports this file.

Its request is a file that it inherits, its answer one line of JSON on stdout, its life a pipe on stdin: when that is
closed, whoever wanted the proof is gone. Where memory gets short, the kernel takes this process first.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pipelines.errors import PenstockError, UnfaithfulError
from pipelines.parts.proof_record import Proof, proof_to_json
from pipelines.parts.store import Store
from pipelines.proof.compare import BOUNDS, Comparison
from pipelines.proof.judge import CLASSIFIES, compare
from pipelines.proof.questions import compare_questions
from pipelines.proof.stretches import compare_stretches
from pipelines.proof.subjects import subjects
from pipelines.roberta.checkpoint import verify
from pipelines.spec import FeatureSpec, Long, ModelRef, from_json

NICENESS = 10


def main(request: int) -> None:
    """Answer the request in the inherited file of that number."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(NICENESS)
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    started = time.monotonic()
    with open(request, encoding="utf-8") as file:
        asked = json.load(file)
    answer: dict[str, Any]
    try:
        proof = _prove(asked, started)
        answer = {"proof": proof_to_json(proof)}
    except UnfaithfulError as error:
        answer = {"unfaithful": error.message}
    except Exception as error:
        reason = error.message if isinstance(error, PenstockError) else f"{type(error).__name__}: {error}"
        answer = {"proof": proof_to_json(Proof(not_made=" ".join(reason.split())[:300] or "unknown"))}
    print(json.dumps(answer), flush=True)  # noqa: T201 (this is what stdout is for)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _prove(asked: dict[str, Any], started: float) -> Proof:
    """Raises UnfaithfulError where a row is not what the model gives, and whatever keeps it from finding out."""
    import torch  # here, so that where it cannot be imported that is the answer

    from pipelines.proof.oracle import Oracle, Sight

    torch.set_num_threads(1)
    spec = from_json(asked["spec"])
    features: dict[str, list[FeatureSpec]] = {}
    models: dict[str, ModelRef] = {_key(spec.model): spec.model}
    for feature in spec.features:
        features.setdefault(_key(feature.model), []).append(feature)
        models[_key(feature.model)] = feature.model
    for model in models.values():
        if not Path(model.path).is_dir():
            return Proof(not_made=f"the model {model.source} is not on this machine")
        verify(model)
    sights = {key: Sight(model) for key, model in models.items()}
    chosen = list(
        subjects(
            Store(Path(asked["folder"])),
            spec,
            asked["fingerprint"],
            asked["batches"],
            asked["documents"],
            reads_alike=lambda text, pair: all(sight.reads_alike(text, pair) for sight in sights.values()),
        )
    )
    if not chosen:
        return Proof(not_made="no document has a row that transformers could be asked about")
    comparison = Comparison(BOUNDS[spec.dtype], documents=len(chosen))
    for key, model in models.items():
        oracle = None
        for subject in chosen:
            document = subject.document
            tokens = min(spec.max_tokens, model.token_limit)
            pair = None if spec.corpus.attached else document.pair  # else it is no sentence
            rows = sights[key].rows(spec.prefix + document.text, pair, tokens, spec.long)
            if key == _key(spec.model) and spec.long.policy is not Long.WINDOW:
                comparison.tokens(subject.where, subject.row["n_used"], len(rows[0]))
            if key in features:
                classifies = any(isinstance(feature.options, CLASSIFIES) for feature in features[key])
                oracle = oracle or Oracle(model, classifies=classifies)
                computed = [oracle.compute(ids) for ids in rows]
                compare(comparison, subject.where, subject.row, features[key], computed)
                compare_stretches(comparison, subject, features[key], computed, spec, sights[key], oracle)
                compare_questions(comparison, subject, features[key], spec, sights[key])
    if worst := comparison.worst():
        raise UnfaithfulError(f"The rows are not what the model gives: {worst}.")
    if not comparison.values:
        return Proof(not_made="nothing of the documents that were drawn can be compared")
    return comparison.proof(time.monotonic() - started)


def _key(model: ModelRef) -> str:
    return model.tokenizer_digest + model.digest


if __name__ == "__main__":
    main(int(sys.argv[1]))
