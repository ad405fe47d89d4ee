"""Options of features that ask a model something about each document."""

from __future__ import annotations

from typing import Any

import click

from pipelines.opening.choices import AskedChoice
from pipelines.opening.questions import AskedQuestions
from pipelines.opening.zero_shot import AskedZeroShot
from pipelines.spec import Attached, ChoiceFormat, Role
from pipelines.spec.question_options import HYPOTHESIS
from worker.cli.model_names import model_source

QUESTION_OPTIONS = (
    click.option(
        "--zero-shot",
        multiple=True,
        metavar="LABEL,LABEL,...",
        help="The label that a document entails most, by an NLI classifier that never saw them; repeatable.",
    ),
    click.option("--hypothesis", metavar="TEXT", help=f"What a label stands in, as {{}}. Default: {HYPOTHESIS!r}"),
    click.option("--each", is_flag=True, help="Each zero-shot label by itself: entailment against contradiction."),
    click.option("--nli", metavar="MODEL", help="The classifier of --zero-shot. Default: the model's own."),
    click.option(
        "--choose",
        metavar="self|MODEL",
        help="The best of the choices that --choices-column has for the question in --text-column.",
    ),
    click.option("--choices-column", metavar="COL", help="Column of the choices: a list of texts, or JSON of one."),
    click.option("--context-column", metavar="COL", help="Column of the text that the question is about."),
    click.option(
        "--choice-format",
        type=click.Choice([str(format_) for format_ in ChoiceFormat]),
        help="How question and choice are put together: as transformers does, or as fairseq did for CommonsenseQA or "
        "RACE. Default: plain.",
    ),
    click.option(
        "--fill-mask",
        type=click.IntRange(min=1),
        metavar="K",
        help="The K best tokens for the one <mask> of each document, and the text with each.",
    ),
    click.option(
        "--disambiguate",
        is_flag=True,
        help="What the [pronoun] of each document stands for, or whether it is the _query_.",
    ),
    click.option(
        "--candidates-column",
        metavar="COL",
        help="Column of what a pronoun may stand for. Default: the noun phrases that spaCy finds.",
    ),
)


def question_request(flags: dict[str, Any]) -> AskedQuestions:
    """What the flags of :data:`QUESTION_OPTIONS` ask."""
    format_ = flags["choice_format"]
    return AskedQuestions(
        zero_shot=AskedZeroShot(tuple(flags["zero_shot"]), flags["hypothesis"], flags["each"], _source(flags["nli"])),
        choice=AskedChoice(_source(flags["choose"]), ChoiceFormat(format_) if format_ else None),
        fill_mask=flags["fill_mask"] or 0,
        disambiguate=flags["disambiguate"],
    )


def _source(asked: str | None) -> str | None:
    return asked if asked in (None, "self") else model_source(asked)


def attached_columns(flags: dict[str, Any]) -> tuple[Attached, ...]:
    """The columns that travel with the documents."""
    columns = ((role, flags[f"{role}_column"]) for role in Role)
    return tuple(Attached(role, column) for role, column in columns if column is not None)
