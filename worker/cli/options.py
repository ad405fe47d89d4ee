"""Options that several commands share, and how those of a spec become a request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pipelines.corpus import CorpusOptions, parse_keep, spool
from pipelines.errors import UsageError
from pipelines.opening import Request
from pipelines.parts.run_document import Transport
from pipelines.spec import Dtype, Format
from worker.cli.feature_options import FEATURE_OPTIONS, feature_request
from worker.cli.model_names import classifier_source, model_source
from worker.cli.question_options import attached_columns

Command = TypeVar("Command", bound=Callable[..., Any])


def _stack(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def apply(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


def spec_options(command: Command) -> Command:
    """CORPUS… and everything that determines the results of a run."""
    return _stack(
        click.argument("corpus", nargs=-1, required=True, metavar="CORPUS..."),
        click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the dataset."),
        click.option(
            "--model",
            required=True,
            metavar="MODEL",
            help="Checkpoint folder, hub id (ORG/NAME[@COMMIT]), or a name of `model list`.",
        ),
        *FEATURE_OPTIONS,
        click.option(
            "--text-column",
            multiple=True,
            metavar="COL",
            help="Column of the text; several are joined by a newline. Default: text.",
        ),
        click.option("--pair-column", metavar="COL", help="Column of the second sentence."),
        click.option(
            "--id-column", metavar="COL", help="Column of the id. Default: id where there is one, else file and offset."
        ),
        click.option(
            "--keep",
            multiple=True,
            metavar="COL[:TYPE][=NAME]",
            help="Column to take along into the dataset; repeatable.",
        ),
        click.option("--prefix", default="", metavar="TEXT", help="Put before each text."),
        click.option(
            "--format",
            "format_",
            default="auto",
            type=click.Choice([str(format_) for format_ in Format]),
            help="How the corpus is read.",
        ),
        click.option("--no-header", is_flag=True, help="CSV or TSV without a header: columns are 0, 1, …"),
        click.option("--whole-files", is_flag=True, help="Text: a file is one document."),
        click.option("--encoding", default="utf-8", show_default=True, help="Encoding of text formats."),
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read only the first N documents."),
        click.option(
            "--max-tokens",
            type=click.IntRange(min=1),
            metavar="N",
            help="Tokens of a document that are used. Default: 512, or the model's limit.",
        ),
        click.option(
            "--dtype",
            default="auto",
            type=click.Choice([str(dtype) for dtype in Dtype]),
            help="Numbers of the forward pass; auto: what the devices do well.",
        ),
        click.option(
            "--batch-invariant",
            is_flag=True,
            help="Same bytes for a document whatever it is computed with, on devices of one kind.",
        ),
        click.option(
            "--batch-docs",
            type=click.IntRange(min=1),
            metavar="N",
            help="Documents per batch (and part). Default: 512 on CPUs, 32,768 on GPUs.",
        ),
        click.option(
            "--max-quarantined",
            metavar="N|P%",
            help="Documents in quarantine up to which a run is sealed. Default: 1%.",
        ),
        click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, write nothing."),
    )(command)


def devices_option(command: Command) -> Command:
    """--devices: where the work is done."""
    return click.option(
        "--devices",
        metavar="auto|cpu|cpu:N|0,1|UUID,...",
        help="Devices, one process each. Default: all GPUs, else the CPU.",
    )(command)


def broker_option(command: Command) -> Command:
    """--broker: the Redis to use."""
    return click.option("--broker", metavar="URL", help="Redis to use (or PENSTOCK_BROKER_URL).")(command)


def transport_option(command: Command) -> Command:
    """--transport: how documents come to the workers."""
    return click.option(
        "--transport",
        type=click.Choice([str(transport) for transport in Transport]),
        help="Send documents through Redis, or have the workers read them, who must see the corpus under the same "
        "path; compressed text is always sent. Default: value, or how the run was opened.",
    )(command)


def proof_option(command: Command) -> Command:
    """--proof: how many documents are proved before the seal."""
    return click.option(
        "--proof",
        type=click.IntRange(min=0),
        metavar="N",
        help="Documents that plain transformers computes once more before the seal; 0: none. Default: 8.",
    )(command)


def once_option(command: Command) -> Command:
    """--once: equal texts are computed once."""
    return click.option("--once", is_flag=True, help="Compute equal texts once; the summary says how many were not.")(
        command
    )


def result_options(command: Command) -> Command:
    """--json and --debug, which every command has; ``main`` reads them where an error ends the command."""
    return _stack(
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout."),
        click.option("--debug", is_flag=True, help="Verbose logs, and tracebacks of errors."),
    )(command)


def _refuse_bytes(flags: dict[str, Any]) -> None:
    """What becomes part of the spec must be text: the command line may give bytes that are not UTF-8."""
    for name in (
        "prefix",
        "pair_column",
        "id_column",
        "text_column",
        "keep",
        "embed",
        "classify",
        "threshold",
        "spans",
        "answer",
        "zero_shot",
        "hypothesis",
        "choices_column",
        "context_column",
        "candidates_column",
        "encoding",
    ):
        for value in flags[name] if isinstance(flags[name], tuple) else (flags[name] or "",):
            try:
                value.encode()
            except UnicodeEncodeError:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} {value!r} is not UTF-8.", "Write it in UTF-8.") from None


def corpus_options(flags: dict[str, Any]) -> CorpusOptions:
    """How the corpus is to be read, from the flags of :func:`spec_options`."""
    return CorpusOptions(
        format=Format(flags["format_"]),
        text_columns=tuple(flags["text_column"]) or ("text",),
        text_named=bool(flags["text_column"]),
        pair_column=flags["pair_column"],
        id_column=flags["id_column"],
        keep=tuple(parse_keep(text) for text in flags["keep"]),
        header=not flags["no_header"],
        whole_files=flags["whole_files"],
        encoding=flags["encoding"],
        limit=flags["limit"],
        attached=attached_columns(flags),
    )


def make_request(flags: dict[str, Any], *, dtype: Dtype, batch_documents: int, spool_to: Path) -> Request:
    """The request of the flags of :func:`spec_options`; standard input is spooled into a folder first."""
    _refuse_bytes(flags)
    arguments = tuple(flags["corpus"])
    if "-" in arguments:
        if flags["format_"] == "auto":
            raise UsageError("The corpus - is standard input, whose format cannot be seen.", "Add --format.")
        if arguments.count("-") > 1:
            raise UsageError("Standard input can be read once only.", "Give - once.")
        spooled = spool(sys.stdin.buffer, spool_to)
        arguments = tuple(str(spooled) if argument == "-" else argument for argument in arguments)
    return Request(
        arguments=arguments,
        corpus=corpus_options(flags),
        model=model_source(flags["model"]),
        dtype=dtype,
        batch_documents=batch_documents,
        **feature_request({**flags, "classify": tuple(map(classifier_source, flags["classify"]))}),
        max_tokens=flags["max_tokens"],
        prefix=flags["prefix"],
        batch_invariant=flags["batch_invariant"],
    )
