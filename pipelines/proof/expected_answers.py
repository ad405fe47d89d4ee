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
    scores: tuple[float | None, float],
    options: AnswerOptions,
    windows: Sequence[Window],
    logits: Sequence[Vector],
    context: str,
) -> None:
    """Add a question's two scores, of its best answer and of none, to the comparison. *Shape:* logits
    ``[windows][tokens, 2]``.
    """
    best: float | None = None
    for window, one in zip(windows, logits, strict=True):
        places = [(token, *place) for token, place in window.places if context[place[0] : place[1]].strip(" ")]
        for token, _, _ in places:
            ends = [one[last, 1] for last, _, _ in places if token <= last < token + options.max_answer_tokens]
            score = float(one[token, 0]) + float(max(ends))
            best = score if best is None else max(best, score)
    none = min(float(one[0].sum()) for one in logits)
    scale = max(1.0, *(float(np.abs(one).max()) for one in logits))
    found, found_none = scores
    if found is None or best is None:
        comparison.tokens(where, int(found is not None), int(best is not None))
    else:
        comparison.scores(where, abs(found - best) / scale)
    comparison.scores(where, abs(found_none - none) / scale)
