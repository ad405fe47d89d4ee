"""Options of features that name stretches of a text: spans, and answers to questions."""

from __future__ import annotations

from typing import Any

import click

from pipelines.opening.answers import AskedAnswers
from pipelines.opening.spans import AskedSpans
from pipelines.spec import Aggregation
from worker.cli.model_names import classifier_source

STRETCH_OPTIONS = (
    click.option(
        "--spans",
        multiple=True,
        metavar="self|MODEL|NAME=MODEL",
        help="What a token classifier finds in each document, with its places; repeatable.",
    ),
    click.option(
        "--aggregation",
        type=click.Choice([str(aggregation) for aggregation in Aggregation]),
        help="How tokens become spans: each by itself; neighbours of one kind; or words first, which are what their "
        "first token, the mean of all or the surest says. Default: simple.",
    ),
    click.option(
        "--answer",
        multiple=True,
        metavar="self|MODEL|NAME=MODEL",
        help="The answer to the question in --text-column from the context in --pair-column; repeatable.",
    ),
    click.option(
        "--max-answer-tokens",
        type=click.IntRange(min=1, max=512),
        metavar="N",
        help="Tokens that an answer has at most. Default: 30.",
    ),
    click.option(
        "--always-answer", is_flag=True, help="Give the best answer even where the model says that there is none."
    ),
)


def stretch_request(flags: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that the flags of :data:`STRETCH_OPTIONS` give; --stride is of contexts with --answer."""
    aggregation = flags["aggregation"]
    answers = tuple(map(classifier_source, flags["answer"]))
    spans = tuple(map(classifier_source, flags["spans"]))
    return {
        "spans": AskedSpans(spans, Aggregation(aggregation) if aggregation else None),
        "answers": AskedAnswers(
            answers, flags["max_answer_tokens"], flags["stride"] if answers else None, flags["always_answer"]
        ),
    }
