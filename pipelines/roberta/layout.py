"""Which tensors a RoBERTa checkpoint has: the encoder's, with their shapes, and what may lie beside them."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.errors import InputError
from pipelines.roberta.config import EncoderConfig
from pipelines.roberta.tensors import COPY_AGAIN, FLOATS, Tensor

PREFIXES = ("roberta.", "camembert.")
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
HEADS = ("lm_head", "pooler", "classifier", "qa_outputs")
"""What the names of a head's tensors begin with; :mod:`pipelines.roberta.heads` says which head it is."""
CLASSIFIER = (
    "classifier.dense.weight",
    "classifier.dense.bias",
    "classifier.out_proj.weight",
    "classifier.out_proj.bias",
)


def plain_name(name: str) -> str:
    """A tensor's name without the model's prefix, and with today's names for the two of an old layer norm."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def encoder_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Name (plain) and shape of every tensor that the forward pass needs."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, hidden),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, hidden),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    linears = {
        "attention.self.query": (hidden, hidden),
        "attention.self.key": (hidden, hidden),
        "attention.self.value": (hidden, hidden),
        "attention.output.dense": (hidden, hidden),
        "intermediate.dense": (inner, hidden),
        "output.dense": (hidden, inner),
    }
    for layer in range(config.num_hidden_layers):
        place = f"encoder.layer.{layer}."
        for name, shape in linears.items():
            shapes[f"{place}{name}.weight"] = shape
            shapes[f"{place}{name}.bias"] = shape[:1]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{place}{name}.weight"] = shapes[f"{place}{name}.bias"] = (hidden,)
    return shapes


def account(tensors: Mapping[str, Tensor], config: EncoderConfig, place: str) -> dict[str, Tensor]:
    """The encoder's tensors by plain name, once every stored tensor has been accounted for.

    Raises InputError for a tensor that is missing, twice there, of another shape or type, or unknown: one that nobody
    would apply (an adapter's, say) would give wrong results in silence.
    """
    plain: dict[str, Tensor] = {}
    for tensor in tensors.values():
        name = plain_name(tensor.name)
        if name in plain:
            raise InputError(f"{place} has tensor {name!r} twice.", COPY_AGAIN)
        plain[name] = tensor
    wanted = encoder_shapes(config)
    for name, shape in wanted.items():
        if name not in plain:
            raise InputError(f"{place} lacks tensor {name!r}.", "Wanted all of the encoder that config.json describes.")
        found = plain[name]
        if found.shape != shape:
            raise InputError(
                f"{place} has tensor {name!r} of shape {list(found.shape)}, config.json says {list(shape)}."
            )
        if found.dtype not in FLOATS:
            raise InputError(f"{place} has tensor {name!r} of type {found.dtype}, wanted one of {', '.join(FLOATS)}.")
    unknown = sorted(name for name in plain.keys() - wanted.keys() - set(BUFFERS) if name.split(".")[0] not in HEADS)
    if unknown:
        raise InputError(
            f"{place} has {len(unknown)} tensors that no RoBERTa has, {unknown[0][:60]!r} the first.",
            "Merge adapters into the weights, or save the checkpoint again without them.",
        )
    return {name: plain[name] for name in wanted}


def classifier_of(tensors: Mapping[str, Tensor], config: EncoderConfig, place: str) -> dict[str, Tensor]:
    """The tensors of a sequence classifier (dense, tanh, out_proj) by name; none where there is no such classifier.

    Raises InputError where its shapes do not fit the encoder.
    """
    head = {name: tensors[name] for name in CLASSIFIER if name in tensors}
    if len(head) < len(CLASSIFIER):
        return {}
    hidden, classes = config.hidden_size, (head[CLASSIFIER[3]].shape or (0,))[0]
    wanted = ((hidden, hidden), (hidden,), (classes, hidden), (classes,))
    for name, shape in zip(CLASSIFIER, wanted, strict=True):
        if head[name].shape != shape or head[name].dtype not in FLOATS:
            found = f"{head[name].dtype} {list(head[name].shape)}"
            raise InputError(f"{place} has tensor {name!r} as {found}, wanted floats of shape {list(shape)}.")
    return head
