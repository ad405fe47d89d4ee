"""Sentences with a pronoun to be resolved, and what is masked to find out what it stands for.

``The _trophy_ is not in the suitcase because [it] is too big.`` asks whether the pronoun in brackets is the query
between underscores; without a query, what it is. Each candidate is put in the pronoun's place and masked, and the
language model says how likely it is there: fairseq's task for Winograd schemas
(https://github.com/facebookresearch/fairseq at 3d262bb2, ``examples/roberta/wsc/``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.errors import DocumentError

_MARKUP = re.compile(r"\[(?P<pronoun>[^\[\]_]+)\]|_(?P<query>[^\[\]_]+)_")
EXAMPLE = "Write it as: The _trophy_ is not in the suitcase because [it] is too big."


@dataclass(frozen=True, slots=True)
class PronounSentence:
    """A text, the characters [begin, end) of it that are the pronoun, and the query, if there is one."""

    text: str
    begin: int
    end: int
    query: str | None

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= len(self.text):
            raise DocumentError(
                f"The pronoun is at [{self.begin}, {self.end}) of a text of {len(self.text)} characters.",
                "Wanted the place of its characters.",
            )

    @property
    def pronoun(self) -> str:
        """The pronoun itself."""
        return self.text[self.begin : self.end]

    def with_candidate(self, candidate: str) -> tuple[str, int, int]:
        """The text with a candidate in the pronoun's place, and which characters are masked then.

        They are the candidate's and a blank right before it, which RoBERTa's vocabulary counts as part of a word.
        """
        text = self.text[: self.begin] + candidate + self.text[self.end :]
        return text, self.begin - text[: self.begin].endswith(" "), self.begin + len(candidate)


@dataclass(frozen=True, slots=True)
class Weighed:
    """The query of a sentence, if it has one, and the candidates, each with the mean log probability of its tokens."""

    query: tuple[str, float] | None
    candidates: tuple[tuple[str, float], ...]

    @property
    def answer(self) -> bool | str:
        """Whether the pronoun is the query; without a query the best candidate, of equal ones the first."""
        if self.query is not None:
            return all(self.query[1] >= score for _, score in self.candidates)
        return max(self.candidates, key=lambda weighed: weighed[1])[0]


def parse_pronoun_sentence(marked: str) -> PronounSentence:
    """Read the markup, one ``[pronoun]`` and at most one ``_query_`` in any order, and take it out of the text.

    The text is used as it stands. fairseq splits it at blanks and detokenises it, which loses the comma of ``[it],``,
    and deletes whatever other underscores and brackets there are: here they are refused. Raises DocumentError.
    """
    found = {"pronoun": 0, "query": 0}
    text, place, begin, end, query = "", 0, 0, 0, None
    for match in _MARKUP.finditer(marked):
        kind = match.lastgroup or ""
        found[kind] += 1
        text += marked[place : match.start()]
        place = match.end()
        if kind == "pronoun":
            begin, end = len(text), len(text) + len(match[kind])
        else:
            query = match[kind]
        text += match[kind]
    text += marked[place:]
    if found["pronoun"] != 1:
        raise DocumentError(f"The sentence has {found['pronoun']} [pronouns] in brackets, wanted one.", EXAMPLE)
    if found["query"] > 1:
        raise DocumentError(f"The sentence has {found['query']} _queries_ between underscores, wanted one.", EXAMPLE)
    if left := sorted(set(text) & set("_[]")):
        raise DocumentError(f"The sentence has a {left[0]!r} beside the markup of its pronoun and query.", EXAMPLE)
    return PronounSentence(text, begin, end, query)


def cleaned_query(query: str) -> str:
    """A query without a full stop or comma at its end, as fairseq reads it. Raises DocumentError for one of blanks."""
    cleaned = (query[:-1] if query.endswith((".", ",")) else query).strip()
    if not cleaned:
        raise DocumentError(f"The query is {query!r}, wanted words.", EXAMPLE)
    return cleaned


def rivals(candidates: Iterable[str], query: str | None) -> list[str]:
    """The candidates to weigh, each once, in order: of a query's, only those that neither contain it nor are in it."""
    asked = None if query is None else query.lower()
    kept = dict.fromkeys(candidate.strip() for candidate in candidates)
    return [
        candidate
        for candidate in kept
        if candidate and (asked is None or (candidate.lower() not in asked and asked not in candidate.lower()))
    ]


def masked(
    ids: npt.NDArray[np.int32], spans: npt.NDArray[np.int64], begin: int, end: int, mask: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Ids with every token masked that has one of the characters [begin, end), and the places of these tokens.

    *Shape:* ids ``[tokens]``, without special ones, spans ``[tokens, 2]``, in characters.
    """
    places = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > begin))
    hidden = ids.copy()
    hidden[places] = mask
    return hidden, places
