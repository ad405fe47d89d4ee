"""``penstock model``: the models there are, what they are, and those of the original tool set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.roberta.about import About, about
from pipelines.roberta.checkpoint import find
from pipelines.roberta.fairseq.exporting import export_fairseq
from pipelines.roberta.fairseq.importing import Asked, import_fairseq
from pipelines.roberta.heads import Kind
from pipelines.spec import ModelRef
from worker.cli.model_list import known_models
from worker.cli.model_names import model_source
from worker.cli.options import result_options
from worker.cli.output import counted, emit, in_bytes
from worker.settings import load, models_folder

PATH = click.Path(path_type=Path)
_COUNTED = (Kind.SEQUENCE, Kind.TOKENS)


@click.group(short_help="What models can do, and those of fairseq.")
def model() -> None:
    """The models there are, what each can do, and checkpoints of fairseq."""


@model.command("list", short_help="The models that are known by name.")
@result_options
def list_(**flags: Any) -> None:
    """The known names and where each leads, and the folders among your models.

    A folder in the models folder (setting models_dir) is a model by its name: --model NAME. Before it goes a path of
    that name in the working folder.
    """
    folder = models_folder(load())
    rows = known_models(folder)
    lines = [f"{row.name:<22} {row.state:<9} {row.place}" for row in rows]
    value = {"models_dir": str(folder), "models": [row._asdict() for row in rows]}
    emit(value, "\n".join([*lines, f"Your models are in {folder}."]), as_json=flags["as_json"])


@model.command(short_help="What a model is and what it can be used for.")
@click.argument("model", metavar="MODEL")
@result_options
def info(**flags: Any) -> None:
    """What MODEL is: its sizes, heads, labels and digests, and what it can be used for."""
    pinned = find(model_source(flags["model"]))
    found = about(pinned)
    emit(_value(pinned, found), _text(pinned, found), as_json=flags["as_json"])


@model.command("import-fairseq", short_help="Make a model's folder from a checkpoint of fairseq.")
@click.argument("path", metavar="PATH", type=PATH)
@click.option("--out", required=True, type=PATH, metavar="DIR", help="The new folder.")
@click.option("--bpe", type=PATH, metavar="FILE", help="vocab.bpe of GPT-2. Default: beside dict.txt, else the hub's.")
@click.option("--head", metavar="NAME", help="Which classification head, where there are several.")
@click.option("--labels", type=PATH, metavar="FILE|DIR", help="The head's label dictionary, or the folder with label/.")
@click.option("--dict", "dictionary", type=PATH, metavar="FILE|DIR", help="dict.txt. Default: beside the model.")
@result_options
def import_(path: Path, out: Path, as_json: bool, debug: bool, **asked: Any) -> None:
    """Make a folder that penstock and transformers load from PATH: model.pt, its folder, or its .tar.gz.

    Its pickle is read as data; nothing of it is run. The folder is written whole or not at all.
    """
    del debug  # main has read it
    imported = import_fairseq(path, out, Asked(**asked))
    found = about(imported.model)
    head = f"Its classification head is {imported.head!r}.\n" if imported.head is not None else ""
    left = f"Left out: {', '.join(map(repr, imported.left_out))}.\n" if imported.left_out else ""
    value = {**_value(imported.model, found), "head": imported.head, "left_out": imported.left_out}
    emit(value, f"{head}{left}{_text(imported.model, found)}", as_json=as_json)


@model.command("export-fairseq", short_help="Write a model as fairseq's files.")
@click.argument("model", metavar="MODEL")
@click.option("--out", required=True, type=PATH, metavar="DIR", help="The new folder.")
@result_options
def export(**flags: Any) -> None:
    """Write MODEL as model.pt, dict.txt and vocab.bpe, which RobertaModel.from_pretrained of fairseq loads."""
    exported = export_fairseq(find(model_source(flags["model"])), flags["out"])
    value = {"out": str(exported.folder), "head": exported.head, "notes": exported.notes}
    head = f" Its classification head is {exported.head!r}." if exported.head is not None else ""
    notes = [f"Note: {note}." for note in exported.notes]
    emit(value, "\n".join([f"{exported.folder}: written.{head}", *notes]), as_json=flags["as_json"])


def _value(pinned: ModelRef, found: About) -> dict[str, Any]:
    config = found.config
    return {
        "model": pinned.source,
        "path": pinned.path,
        "revision": pinned.revision,
        "architecture": pinned.model_type,
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size,
        "positions": config.max_position_embeddings,
        "max_tokens": config.token_limit,
        "parameters": found.parameters,
        "bytes": found.nbytes,
        "dtypes": found.dtypes,
        "heads": [{"kind": head.kind, "outputs": head.outputs} for head in found.heads],
        "labels": found.labels,
        "uses": found.uses,
        "digest": pinned.digest,
        "encoder_digest": pinned.encoder_digest,
        "tokenizer_digest": pinned.tokenizer_digest,
    }


def _text(pinned: ModelRef, found: About) -> str:
    config = found.config
    heads = [f"{head.kind} ({head.outputs})" if head.kind in _COUNTED else str(head.kind) for head in found.heads]
    lines = {
        "model": f"{pinned.path} ({pinned.model_type}{f', commit {pinned.revision}' if pinned.revision else ''})",
        "encoder": f"{counted(config.num_hidden_layers, 'layer')} of {config.hidden_size:,} numbers, "
        f"{counted(config.num_attention_heads, 'attention head')}, inner {config.intermediate_size:,}",
        "reads": f"up to {config.token_limit:,} tokens of a vocabulary of {config.vocab_size:,}",
        "size": f"{found.parameters:,} numbers in {in_bytes(found.nbytes)} ({', '.join(found.dtypes)})",
        "heads": ", ".join(heads) or "none",
        "labels": ", ".join(found.labels) or "-",
        "can do": ", ".join(found.uses),
        "digest": pinned.digest,
        "of encoder": pinned.encoder_digest,
        "of tokenizer": pinned.tokenizer_digest,
    }
    return "\n".join(f"{name:<13} {line}" for name, line in lines.items())
