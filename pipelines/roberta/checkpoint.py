"""Find a checkpoint, check it, and pin it by digests. No torch here: producers pin models without it.

``config.json`` is read first and decides; no code of a checkpoint is ever run, and no pickle is opened.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import InputError, RunError
from pipelines.roberta.config import EncoderConfig, parse_config, parse_labels, read_json
from pipelines.roberta.fairseq.recognised import looks_like_fairseq
from pipelines.roberta.heads import heads_of, in_words
from pipelines.roberta.layout import account, classifier_of, plain_name
from pipelines.roberta.names import HUB_IDS
from pipelines.roberta.tensors import Tensor, stored_tensors, tensor_digests
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import ModelRef, canonical_json

CONFIG_FILE = "config.json"
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?", re.ASCII)  # ./x and ../x are paths


def find(source: str) -> ModelRef:
    """Pin the checkpoint that a person named: a folder, or ``org/name[@revision]`` on the model hub.

    Raises InputError, in one line, for anything that is not a whole RoBERTa, XLM-RoBERTa or CamemBERT checkpoint in
    safetensors with its tokenizer.
    """
    folder, revision = Path(source).expanduser(), ""
    try:
        if folder.is_dir() and ((folder / CONFIG_FILE).exists() or not looks_like_fairseq(folder)):
            folder = folder.resolve()
        elif folder.exists():
            raise _no_folder_of_ours(source, folder)
        elif _HUB_ID.fullmatch(source):
            folder, revision = _from_hub(source)
        else:
            on_hub = next((hub_id for hub_id in HUB_IDS.values() if hub_id and hub_id.endswith(f"/{source}")), None)
            wanted = "Wanted a folder, or org/name of the model hub."
            hint = f"On the model hub it is {on_hub}: name that." if on_hub else wanted
            raise InputError(f"There is no model folder {source!r}.", hint)
        return _pin(source, folder, revision)
    except (OSError, RuntimeError) as error:  # RuntimeError: an unknown user in ~user
        raise InputError(f"{source} cannot be read: {error}.", "Check its permissions.") from error


def on_this_machine(model: ModelRef) -> ModelRef:
    """The same checkpoint where this machine has it: a hub's is fetched at its pinned commit where the folder is not.

    Raises InputError where it cannot be had.
    """
    if not model.revision or Path(model.path).is_dir():
        return model
    name = model.source.partition("@")[0]
    folder, _ = _from_hub(f"{name}@{model.revision}")
    return dataclasses.replace(model, path=str(folder))


def _from_hub(source: str) -> tuple[Path, str]:
    # The hub's client is half a second and 16 MB, which nobody has a use for whose models are in folders.
    from pipelines.roberta.download import download

    return download(source)


def verify(model: ModelRef) -> None:
    """Check that the folder still holds what was pinned. Raises RunError where it does not, InputError as find does."""
    found = find(model.path)
    for what, pinned, now in (
        ("weights", model.digest, found.digest),
        ("tokenizer", model.tokenizer_digest, found.tokenizer_digest),
    ):
        if pinned != now:
            raise RunError(
                f"The {what} in {model.path} are not those that the run was opened with"
                f" ({now[:12]} instead of {pinned[:12]}).",
                "Put the old model back, or start a new run in another folder.",
            )


def described(model: ModelRef) -> str:
    """What a checkpoint is, in words, ``an encoder with a language model head``: for messages about what it lacks."""
    folder = Path(model.path)
    config = parse_config(read_json(folder / CONFIG_FILE), model.path)
    return in_words(heads_of(stored_tensors(folder), config, model.path))


def _no_folder_of_ours(source: str, found: Path) -> InputError:
    what = "a file" if found.is_file() else "a folder of fairseq"
    if looks_like_fairseq(found):
        command = f"penstock model import-fairseq {shlex.quote(source)} --out DIR"
        hint = f"Is it a checkpoint of fairseq? `{command}` makes a model folder of it; then name DIR."
    else:
        hint = f"Name the folder that holds {CONFIG_FILE}."
    return InputError(f"{source} is {what}, wanted a model folder.", hint)


def _pin(source: str, folder: Path, revision: str) -> ModelRef:
    document = read_json(folder / CONFIG_FILE)
    config = parse_config(document, str(folder / CONFIG_FILE))
    stored = stored_tensors(folder)
    encoder = account(stored, config, str(folder))
    classifier = classifier_of(stored, config, str(folder))
    labels: tuple[str, ...] = ()
    if classifier:
        classes = classifier["classifier.out_proj.bias"].shape[0]
        if classes > 1:  # one output is a regression, which has no labels
            labels = parse_labels(document, classes, str(folder / CONFIG_FILE))
    tokenizer = Tokenizer(folder, config.model_type, config.vocab_size)
    digests = tensor_digests(stored.values())
    return ModelRef(
        source=source,
        path=str(folder),
        revision=revision,
        model_type=config.model_type,
        digest=_digest(config, {plain_name(name): tensor for name, tensor in stored.items()}, digests, labels),
        encoder_digest=_digest(config, encoder, digests, ()),
        tokenizer_digest=hashlib.sha256(canonical_json(tokenizer.document)).hexdigest(),
        hidden_size=config.hidden_size,
        token_limit=config.token_limit,
        labels=labels,
    )


def _digest(
    config: EncoderConfig, tensors: Mapping[str, Tensor], digests: Mapping[str, str], labels: tuple[str, ...]
) -> str:
    """Hex SHA-256 of what a forward pass depends on. ``digests`` are of the tensors' bytes, by stored name."""
    document: dict[str, Any] = {
        "config": dataclasses.asdict(config),
        "labels": labels,
        "tensors": {
            name: [tensor.dtype, tensor.shape, digests[tensor.name]] for name, tensor in sorted(tensors.items())
        },
    }
    return hashlib.sha256(canonical_json(document)).hexdigest()
