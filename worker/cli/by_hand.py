"""``penstock encode``, ``decode``, ``predict``, ``fill-mask`` and ``disambiguate``: one text, by hand."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipelines.errors import DocumentError, InputError, UsageError
from pipelines.opening.classifiers import DEFAULT_THRESHOLD
from pipelines.roberta.checkpoint import described, find
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.problem import Problem, problem_of
from pipelines.roberta.sentences import decode as decoded
from pipelines.roberta.sentences import encode as encoded
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Dtype
from worker.cli.model_names import model_source
from worker.cli.options import result_options
from worker.cli.output import emit, printable

if TYPE_CHECKING:
    from pipelines.hub import Roberta

Command = TypeVar("Command", bound=Callable[..., Any])
OWN_HEAD = "classifier"

model_option = click.option(
    "--model",
    required=True,
    metavar="MODEL",
    help="Checkpoint folder, hub id (ORG/NAME[@COMMIT]), or a name of `model list`.",
)


def place_options(command: Command) -> Command:
    """--device and --dtype, for what computes."""
    formats = [str(dtype) for dtype in Dtype if dtype is not Dtype.AUTO]
    dtype = click.option("--dtype", default="float32", type=click.Choice(formats), help="Numbers of the forward pass.")
    device = click.option("--device", default="cpu", metavar="cpu|cuda[:N]", help="Where to compute. Default: cpu.")
    return device(dtype(command))


@click.command(short_help="Print the ids of a text.")
@click.argument("text", nargs=-1, required=True, metavar="TEXT...")
@model_option
@click.option("--no-separator", is_flag=True, help="One </s> between two texts instead of two.")
@result_options
def encode(text: tuple[str, ...], model: str, no_separator: bool, **flags: Any) -> None:
    """Print the ids of TEXT, special ones included; of several TEXTs as the model reads pairs.

    A TEXT of - is read from standard input, without its last line end.
    """
    tokenizer, _ = _tokenizer(model)
    with _refused():
        ids = encoded(tokenizer, _texts(text), separator=not no_separator).tolist()
    pieces = Pieces(tokenizer)
    value = {"ids": ids, "tokens": [pieces.text_or_name(number) for number in ids]}
    emit(value, " ".join(map(str, ids)), as_json=flags["as_json"])


@click.command(short_help="Print the text of ids.", context_settings={"ignore_unknown_options": True})
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@model_option
@result_options
def decode(ids: tuple[str, ...], model: str, **flags: Any) -> None:
    """Print the text that IDs stand for, each sentence of a pair on its line; - reads them from standard input."""
    words = [word for given in ids for word in (_standard_input().split() if given == "-" else given.split())]
    for word in words:
        if not word.isdecimal() or not word.isascii():
            raise UsageError(f"{word[:60]!r} is no id.", "Wanted whole numbers.")
    tokenizer, padding = _tokenizer(model)
    with _refused("Give ids that `penstock encode` prints with this model."):
        sentences = decoded(tokenizer, Pieces(tokenizer), [int(word) for word in words], padding=padding)
    emit({"texts": sentences}, "\n".join(sentences), as_json=flags["as_json"])


@click.command(short_help="Print the labels of a text and their probabilities.")
@click.argument("text", metavar="TEXT")
@click.argument("pair", metavar="[TEXT]", required=False)
@model_option
@place_options
@result_options
def predict(text: str, pair: str | None, **flags: Any) -> None:
    """Print the labels of TEXT, or of a pair, by the model's own classifier, the most probable first.

    Of a multi-label classifier each probability is of that label by itself. A regression has no labels: its value is
    printed. A TEXT of - is read from standard input.
    """
    roberta = _roberta(flags)
    if OWN_HEAD not in roberta.heads:
        raise InputError(
            f"{roberta.model.source} has no classifier, it is {described(roberta.model)}.",
            "Name a model that was fine-tuned on labels.",
        )
    problem = problem_of(roberta.model)
    texts = _texts((text,) if pair is None else (text, pair))
    with _refused():
        logits = roberta.predict(OWN_HEAD, roberta.encode(*texts), return_logits=True)[0]
    labels = roberta.model.labels
    if problem is Problem.REGRESSION:
        number = float(logits[0])
        emit({"value": number}, f"{number:.6g}", as_json=flags["as_json"])
        return
    each = problem is Problem.MULTI_LABEL
    scores: list[float] = (logits.sigmoid() if each else logits.softmax(dim=-1)).tolist()
    ranked = sorted(zip(scores, labels, strict=True), key=lambda pair: -pair[0])
    lines = [f"{score:.5f}  {printable(label)}" for score, label in ranked]
    best: dict[str, Any] = {"label": ranked[0][1], "score": ranked[0][0]}
    likely = {"likely": [label for score, label in ranked if score >= DEFAULT_THRESHOLD]}
    value = {**(likely if each else best), "labels": labels, "scores": scores}
    emit(value, "\n".join(lines), as_json=flags["as_json"])


@click.command("fill-mask", short_help="Print what fits the <mask> of a text.")
@click.argument("text", metavar="TEXT")
@model_option
@click.option("--top-k", default=5, type=click.IntRange(min=1), metavar="N", help="How many to print. Default: 5.")
@place_options
@result_options
def fill_mask(text: str, top_k: int, **flags: Any) -> None:
    """Print the tokens that fit the one <mask> of TEXT best: rank, probability, token and the text with it.

    A TEXT of - is read from standard input.
    """
    roberta = _roberta(flags)
    with _refused():
        filled = roberta.fill_mask(_texts((text,))[0], topk=top_k)
    rows = [
        {"rank": rank, "probability": probability, "token": token, "text": whole}
        for rank, (whole, probability, token) in enumerate(filled, start=1)
    ]
    width = max(len(printable(token)) for _, _, token in filled)
    lines = [
        f"{rank:>3}  {probability:.5f}  {printable(token):<{width}}  {printable(whole)}"
        for rank, (whole, probability, token) in enumerate(filled, start=1)
    ]
    emit({"fills": rows}, "\n".join(lines), as_json=flags["as_json"])


@click.command(short_help="Print what a pronoun stands for.")
@click.argument("text", metavar="TEXT")
@model_option
@click.option(
    "--candidate",
    multiple=True,
    metavar="TEXT",
    help="What the pronoun may stand for; repeatable. Default: the noun phrases that spaCy finds.",
)
@place_options
@result_options
def disambiguate(text: str, candidate: tuple[str, ...], **flags: Any) -> None:
    """Print whether the [pronoun] of TEXT is its _query_ (yes or no), or, without a query, what it is.

    For example: The _trophy_ is not in the suitcase because [it] is too big. A TEXT of - is read from standard input.
    """
    roberta = _roberta(flags)
    with _refused():
        weighed = roberta.weigh_pronoun(_texts((text,))[0], candidates=candidate or None)
    answer = weighed.answer
    value = {
        "answer": answer,
        "query": None if weighed.query is None else _weight(weighed.query),
        "candidates": [_weight(pair) for pair in weighed.candidates],
    }
    shown = answer if isinstance(answer, str) else ("no", "yes")[answer]
    emit(value, printable(shown), as_json=flags["as_json"])


def _weight(weighed: tuple[str, float]) -> dict[str, Any]:
    text, score = weighed
    return {"text": text, "log_probability": score, "probability": math.exp(score)}


def _tokenizer(model: str) -> tuple[Tokenizer, int]:
    """A checkpoint's tokenizer and its padding id, without torch."""
    found = find(model_source(model))
    config = parse_config(read_json(Path(found.path) / "config.json"), found.path)
    return Tokenizer(Path(found.path), found.model_type, config.vocab_size), config.pad_token_id


def _roberta(flags: dict[str, Any]) -> Roberta:
    from pipelines.hub import Roberta

    return Roberta.load(model_source(flags["model"]), device=flags["device"], dtype=flags["dtype"])


def _texts(given: Sequence[str]) -> list[str]:
    if list(given).count("-") > 1:
        raise UsageError("Standard input can be read once only.", "Give - once.")
    return [_standard_input() if text == "-" else text for text in given]


def _standard_input() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"Standard input is not UTF-8: {error.reason} at byte {error.start}.", "Convert it.") from None


@contextmanager
def _refused(hint: str = "") -> Iterator[None]:
    """What is wrong with a text is, by hand, the person's to mend: there is no quarantine here."""
    try:
        yield
    except InputError:
        raise
    except DocumentError as error:
        raise InputError(error.message, error.hint) from error
    except ValueError as error:  # ids that stand for no text
        raise InputError(str(error), hint) from error
