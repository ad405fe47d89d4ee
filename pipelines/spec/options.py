"""The options of each kind of feature: frozen values that travel as JSON.

Layers are numbered as transformers numbers hidden states: 0 is what the embeddings give, n what the n-th layer gives,
-1 the last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, get_type_hints

from pipelines.spec.dense import Dense
from pipelines.spec.question_options import ChoiceOptions, FillMaskOptions, PronounOptions, ZeroShotOptions


class Pooling(StrEnum):
    """How token vectors become one vector: over all used tokens including ``<s>`` and ``</s>``; ``cls`` is ``<s>``."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"


class Storage(StrEnum):
    """How the numbers of a vector are stored.

    ``int8`` is a number from -127 to 127 times the row's scale, which has a column of its own; ``binary`` one bit for
    each number, 1 where it is above 0, the first in the highest bit of the first byte.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"

    @property
    def has_scale(self) -> bool:
        return self is Storage.INT8


@dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """One vector per document: pooled from the sum of hidden states, each times its weight (equal ones where none are
    given), then through dense layers, cut to its first ``dimensions`` numbers, normalised to length 1, and stored.
    """

    pooling: Pooling = Pooling.MEAN
    layers: tuple[int, ...] = (-1,)
    weights: tuple[float, ...] = ()
    dimensions: int | None = None
    normalize: bool = False
    storage: Storage = Storage.FLOAT32
    dense: tuple[Dense, ...] = ()

    def width(self, hidden_size: int) -> int:
        """How many numbers a vector has."""
        return self.dimensions or (self.dense[-1].outputs if self.dense else hidden_size)


@dataclass(frozen=True, slots=True)
class LabelsOptions:
    """The best of several classes, and the ``top_k`` best where that is not 0."""

    top_k: int = 0


@dataclass(frozen=True, slots=True)
class MultiLabelsOptions:
    """Any number of classes: those whose probability is at least their threshold; one for each, in class order."""

    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RegressionOptions:
    """A number as the head gives it: nothing to choose."""


@dataclass(frozen=True, slots=True)
class TokensOptions:
    """One vector per token: the sum of hidden states, each times its weight (equal ones where none are given); with
    ``each`` one vector of every layer. Stored as float32 or float16.
    """

    layers: tuple[int, ...] = (-1,)
    weights: tuple[float, ...] = ()
    each: bool = False
    storage: Storage = Storage.FLOAT32


class WordSource(StrEnum):
    """What a text's words are: what the built-in splitter finds, or what stands between blanks."""

    SPLIT = "split"
    BLANKS = "blanks"


@dataclass(frozen=True, slots=True)
class WordsOptions:
    """One vector per word: the sum of its tokens' shares, of the layers as :class:`TokensOptions` has them."""

    source: WordSource = WordSource.SPLIT
    layers: tuple[int, ...] = (-1,)
    weights: tuple[float, ...] = ()
    each: bool = False
    storage: Storage = Storage.FLOAT32


class Aggregation(StrEnum):
    """How the verdicts on tokens become spans: not at all; neighbours of one kind; or words first, of which the first
    token, the mean of all or the token that is surest of itself says what they are.
    """

    NONE = "none"
    SIMPLE = "simple"
    FIRST = "first"
    AVERAGE = "average"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class SpansOptions:
    """What a token classifier finds in a text; ``labels`` are its classes in order, which its model does not have."""

    labels: tuple[str, ...] = ()
    aggregation: Aggregation = Aggregation.SIMPLE


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """The stretch of the context that answers the question, of at most so many tokens; windows share ``stride``.

    With ``always`` it is given where no answer is likelier, too.
    """

    stride: int = 128
    max_answer_tokens: int = 30
    always: bool = False


Options = (
    EmbeddingOptions
    | LabelsOptions
    | MultiLabelsOptions
    | RegressionOptions
    | TokensOptions
    | WordsOptions
    | SpansOptions
    | AnswerOptions
    | ZeroShotOptions
    | ChoiceOptions
    | FillMaskOptions
    | PronounOptions
)
AnyOptions = TypeVar("AnyOptions", bound=Options)


def options_to_json(options: Options) -> dict[str, Any]:
    """Options as JSON-ready values, without those that stand at their default."""
    fields = {field.name: (getattr(options, field.name), field.default) for field in dataclasses.fields(options)}
    return {name: _plain(value) for name, (value, default) in fields.items() if value != default}


def options_from_json(kind: type[AnyOptions], document: Mapping[str, Any]) -> AnyOptions:
    """The way back. Raises TypeError or ValueError where it is something else."""
    hints = get_type_hints(kind)
    return kind(**{name: _typed(value, hints.get(name)) for name, value in document.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Dense):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return str(value) if isinstance(value, StrEnum) else value


def _typed(value: Any, hint: Any) -> Any:
    if isinstance(value, list):
        return tuple(_typed(item, None) for item in value)
    if isinstance(value, dict):
        return Dense.from_json(value)
    return hint(value) if isinstance(hint, type) and issubclass(hint, StrEnum) else value
