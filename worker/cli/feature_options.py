"""Options that say what is read off the model, and how long documents are read."""

from __future__ import annotations

from typing import Any

import click

from pipelines.opening.embeddings import GRAMMAR, VectorForm
from pipelines.opening.token_vectors import TOKENS_GRAMMAR, TokenVectors
from pipelines.spec import Long, LongTexts, Storage
from worker.cli.question_options import QUESTION_OPTIONS, question_request
from worker.cli.stretch_options import STRETCH_OPTIONS, stretch_request

TOKEN_OPTIONS = (
    click.option(
        "--tokens", metavar="LAYERS", help=f"The vector of each token: {TOKENS_GRAMMAR}, which is a column for each."
    ),
    click.option(
        "--words",
        metavar="split|blanks[@LAYERS]",
        help="The vector of each word, the sum of its tokens' shares; words are found, or stand between blanks.",
    ),
)
FEATURE_OPTIONS = (
    click.option(
        "--embed",
        multiple=True,
        metavar="[NAME=]POOL[@LAYERS]",
        help=f"Embedding of each document: {GRAMMAR}; repeatable. Layer 0 is the embeddings, -1 the last. "
        "Default: mean, when no other feature is asked for.",
    ),
    click.option("--dimensions", type=click.IntRange(min=1), metavar="N", help="Keep the first N numbers of vectors."),
    click.option("--normalize", is_flag=True, help="Vectors of length 1."),
    click.option(
        "--vectors",
        type=click.Choice([str(storage) for storage in Storage]),
        default="float32",
        show_default=True,
        help="How vectors are stored; int8 with a scale for each.",
    ),
    click.option(
        "--classify",
        multiple=True,
        metavar="self|MODEL|NAME=MODEL",
        help="Label of each document, by the model's own classifier or another checkpoint's; repeatable.",
    ),
    click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="The K best labels and scores as well."),
    click.option(
        "--threshold",
        multiple=True,
        metavar="P|LABEL=P",
        help="Probability from which a multi-label classifier's label is given; repeatable. Default: 0.5.",
    ),
    click.option(
        "--long",
        "long_",
        default="truncate",
        show_default=True,
        type=click.Choice([str(policy) for policy in Long]),
        help="Documents of more than --max-tokens: cut, read in windows of so many, or quarantined.",
    ),
    click.option(
        "--stride",
        type=click.IntRange(min=0),
        metavar="N",
        help="Tokens that windows share. Default: 0; 128 in the contexts of --answer.",
    ),
    *STRETCH_OPTIONS,
    *TOKEN_OPTIONS,
    *QUESTION_OPTIONS,
)


def feature_request(flags: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that the flags of :data:`FEATURE_OPTIONS` give."""
    return {
        "embed": tuple(flags["embed"]),
        "vectors": VectorForm(flags["dimensions"], flags["normalize"], Storage(flags["vectors"])),
        "classify": tuple(flags["classify"]),
        "top_k": flags["top_k"] or 0,
        "thresholds": tuple(flags["threshold"]),
        "token_vectors": TokenVectors(flags["tokens"], flags["words"]),
        "long": LongTexts(Long(flags["long_"]), 0 if flags["answer"] else flags["stride"] or 0),
        **stretch_request(flags),
        "questions": question_request(flags),
    }
