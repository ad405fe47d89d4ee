"""Classification heads: what stands on the vector of ``<s>``."""

from __future__ import annotations

from pathlib import Path

import torch

from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.layout import CLASSIFIER, classifier_of
from pipelines.roberta.tensors import stored_tensors
from pipelines.roberta.weights import load_weights
from pipelines.spec import ModelRef

OWN = "classifier"
FAIRSEQ_DEFAULT = "sentence_classification_head"
MNLI = ("contradiction", "neutral", "entailment")


class ClassificationHead(torch.nn.Module):
    """Dense, tanh and projection, float32: RoBERTa's. No dropout, which only training needs.

    *Shape:* ``[documents, hidden]`` to ``[documents, classes]``.
    """

    def __init__(self, hidden_size: int, classes: int, inner_size: int | None = None) -> None:
        """Weights are random, as torch makes them."""
        super().__init__()
        inner = inner_size or hidden_size
        self.dense = torch.nn.Linear(hidden_size, inner)
        self.out_proj = torch.nn.Linear(inner, classes)

    def forward(self, first: torch.Tensor) -> torch.Tensor:
        """Scores before the softmax, of the vectors of ``<s>``."""
        logits: torch.Tensor = self.out_proj(torch.tanh(self.dense(first)))
        return logits


def own_heads(model: ModelRef, device: torch.device) -> dict[str, ClassificationHead]:
    """The classifier of a checkpoint, under the names it goes by; none where it has none.

    It is ``classifier``, and for those who know it from fairseq ``sentence_classification_head``, the name that
    fairseq gives unless told otherwise, ``mnli`` where its labels are those of roberta.large.mnli, in that order, and
    the name it had in the archive that it was imported from.
    """
    folder = Path(model.path)
    document = read_json(folder / "config.json")
    config = parse_config(document, model.path)
    tensors = classifier_of(stored_tensors(folder), config, model.path)
    if not tensors:
        return {}
    weights = load_weights(tensors, device, torch.float32)
    head = ClassificationHead(config.hidden_size, len(weights[CLASSIFIER[3]])).to(device)
    head.load_state_dict({name.removeprefix("classifier."): weight for name, weight in weights.items()})
    head.requires_grad_(False)
    names = [OWN, FAIRSEQ_DEFAULT]
    if tuple(label.lower() for label in model.labels) == MNLI:
        names.append("mnli")
    if isinstance(document.get("fairseq_head"), str):
        names.append(document["fairseq_head"])
    return dict.fromkeys(names, head)
