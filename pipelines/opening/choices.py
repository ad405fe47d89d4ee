"""``--choose self|MODEL``: the best of the choices that each document has in a column."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import UsageError
from pipelines.roberta.checkpoint import find
from pipelines.roberta.choice_head import choice_head
from pipelines.spec import ChoiceFormat, ChoiceOptions, FeatureSpec, Long, ModelRef, Role, choice_feature


@dataclass(frozen=True, slots=True)
class AskedChoice:
    """``model`` is ``self`` or MODEL, a format of None the default."""

    model: str | None = None
    format: ChoiceFormat | None = None


def choice_features(
    asked: AskedChoice, model: ModelRef, attached: frozenset[Role], long: Long
) -> tuple[FeatureSpec, ...]:
    """The choice of a run, whose corpus has these columns attached.

    Raises UsageError for a contradiction, InputError for a model that does not score choices, naming what it has.
    """
    there = attached & {Role.CHOICES, Role.CONTEXT}
    if asked.model is None:
        if there or asked.format is not None:
            raise UsageError(
                "--choices-column, --context-column and --choice-format need a model.", "Add --choose self."
            )
        return ()
    if Role.CHOICES not in there:
        raise UsageError("--choose needs the choices of each document.", "Name their column with --choices-column.")
    format_ = asked.format or ChoiceFormat.PLAIN
    if format_ is ChoiceFormat.RACE and Role.CONTEXT not in there:
        raise UsageError(
            "--choice-format race needs a context for each document.", "Name its column: --context-column."
        )
    if format_ is ChoiceFormat.CSQA and Role.CONTEXT in there:
        raise UsageError(
            "--choice-format csqa has no place for a context.", "Leave --context-column out, or use plain."
        )
    if long is Long.WINDOW:
        raise UsageError(
            "--long window cannot be had with --choose: a window would tear questions from their choices.",
            "Use --long truncate or error.",
        )
    scorer = model if asked.model == "self" else find(asked.model)
    choice_head(scorer)
    return (choice_feature(scorer, ChoiceOptions(format_)),)
