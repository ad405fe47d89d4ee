"""Questions with a choice each: a row for each choice, in one of three forms.

``plain`` is what transformers' multiple choice heads are trained on: ``<s> question </s></s> choice </s>``, or with a
context ``<s> context </s></s> question choice </s>``. ``csqa`` and ``race`` are fairseq's
(https://github.com/facebookresearch/fairseq at 3d262bb2, ``examples/roberta/commonsense_qa``, ``preprocess_RACE.py``
and ``fairseq/tasks/sentence_ranking.py``): ``<s> Q: question </s> A: choice </s>``, and
``<s> question choice </s></s> context </s>``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pipelines.documents import Document, Reason
from pipelines.errors import DocumentError
from pipelines.readings.attached_values import attached_values, text_list, text_or_none
from pipelines.readings.inputs import Ids, Inputs, Unfit
from pipelines.readings.joined_ids import bare_ids_of, joined
from pipelines.roberta.tokenizer import Tokenizer, longest_first
from pipelines.spec import ChoiceFormat, Long, Role

RACE_OPTION_TOKENS = 126
"""Of a question with its choice RACE models see 128 tokens, the special ones included (``--max-option-length``)."""

BLANK = "_"
"""Where a question of RACE has it, the choice stands there instead of behind the question."""


@dataclass(frozen=True, slots=True)
class ChoiceReading:
    """The note of each row is its choice.

    Of rows that are too long the longer side is cut, with ``race`` the context; with the policy ``error`` the document
    is set aside.
    """

    tokenizer: Tokenizer
    max_tokens: int
    prefix: str
    long: Long
    format: ChoiceFormat

    @property
    def key(self) -> Hashable:
        return ChoiceReading, self.format

    def read(self, documents: Sequence[Document]) -> list[Inputs | Unfit]:
        asked = [self._asked(document) for document in documents]
        sides = [side for one in asked if not isinstance(one, Unfit) for _, pair in one for side in pair]
        ids = bare_ids_of(self.tokenizer, sides)
        return [one if isinstance(one, Unfit) else self._inputs(one, ids) for one in asked]

    def _asked(self, document: Document) -> list[tuple[str, tuple[str, str]]] | Unfit:
        """Each choice, and the two sides of its row."""
        try:
            values = attached_values(document)
            choices = text_list(values.get(Role.CHOICES), "choices")
            context = text_or_none(values.get(Role.CONTEXT), "context")
            return [(choice, self._sides(self.prefix + document.text, choice, context)) for choice in choices]
        except DocumentError as error:
            return Unfit(Reason.UNFIT, error.message)

    def _sides(self, question: str, choice: str, context: str | None) -> tuple[str, str]:
        if self.format is ChoiceFormat.CSQA:
            return f"Q: {question}", f"A: {choice}"
        if self.format is ChoiceFormat.RACE:
            if context is None:
                raise DocumentError("The document has no context, wanted a text.")
            whole = question.replace(BLANK, choice) if BLANK in question else f"{question} {choice}"
            return whole, context.replace("\n", " ")
        return (question, choice) if context is None else (context, f"{question} {choice}")

    def _inputs(self, asked: Sequence[tuple[str, tuple[str, str]]], ids: dict[str, Ids]) -> Inputs | Unfit:
        before, between, after = self.tokenizer.around
        if self.format is ChoiceFormat.CSQA:
            between = after
        room = self.max_tokens - len(before) - len(between) - len(after)
        rows, longest = [], 0
        for _, (first_text, second_text) in asked:
            first, second = ids[first_text], ids[second_text]
            longest = max(longest, len(first) + len(second))
            if self.format is ChoiceFormat.RACE:
                first = first[: min(RACE_OPTION_TOKENS, room)]
                kept = (len(first), room - len(first))
            else:
                kept = longest_first(len(first), len(second), room)
            rows.append(joined(before, first[: kept[0]], between, second[: kept[1]], after))
        n_tokens = longest + self.max_tokens - room
        if n_tokens > self.max_tokens and self.long is Long.ERROR:
            return Unfit(
                Reason.TOO_LONG,
                f"A question with its choice has {n_tokens:,} tokens, {self.max_tokens:,} are allowed.",
            )
        return Inputs(tuple(rows), n_tokens, min(n_tokens, self.max_tokens), notes=tuple(choice for choice, _ in asked))
