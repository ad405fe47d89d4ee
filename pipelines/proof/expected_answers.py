"""The scores that answers to a question should have, by trying every one: none of the engine's code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.proof.compare import Comparison, Vector
from pipelines.proof.oracle import Window
from pipelines.spec import AnswerOptions


def compare_answer(
    comparison: Comparison,
    where: str,
    found: tuple[str | None, float | None, float],
    options: AnswerOptions,
    windows: Sequence[Window],
    logits: Sequence[Vector],
    context: str,
) -> None:
    """Add the answer to a question, its score and that of none to the comparison. *Shape:* logits
    ``[windows][tokens, 2]``.
    """
    best: float | None = None
    for window, one in zip(windows, logits, strict=True):
        places = [(token, *place) for token, place in window.places if context[place[0] : place[1]].strip(" ")]
        for token, _, _ in places:
            ends = [one[last, 1] for last, _, _ in places if token <= last < token + options.max_answer_tokens]
            reached = float(one[token, 0]) + float(max(ends))
            best = reached if best is None else max(best, reached)
    none = min(float(one[0].sum()) for one in logits)
    scale = max(1.0, *(float(np.abs(one).max()) for one in logits))
    answer, score, no_answer = found
    if score is None or best is None:
        comparison.tokens(where, int(score is not None), int(best is not None))
    else:
        comparison.scores(where, abs(score - best) / scale)
        wanted = options.always or best >= none
        margin, clear = float("inf") if options.always else abs(best - none) / scale, comparison.bounds.clear_margin
        if (answer is not None) != wanted and margin > clear:
            said = "an answer" if wanted else "no answer"
            comparison.verdict(where, "no answer" if answer is None else answer, said, margin, clear)
    comparison.scores(where, abs(no_answer - none) / scale)
