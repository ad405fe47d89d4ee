"""The head of a sequence classifier: what it says of each row, before it becomes probabilities or a number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pipelines.errors import InputError
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.invariant import invariant_form
from pipelines.roberta.layout import CLASSIFIER, classifier_of, plain_name
from pipelines.roberta.linear import linear_form
from pipelines.roberta.tensors import stored_tensors
from pipelines.roberta.weights import load_weights
from pipelines.spec import Dtype, ModelRef


class Classifier:
    """Dense, tanh and projection of ``<s>``.

    float32 whatever the encoder's dtype: it costs nothing, and close calls stay close to float32's.
    """

    def __init__(
        self, model: ModelRef, device: torch.device, *, batch_invariant: bool, names: Sequence[str] = CLASSIFIER
    ) -> None:
        """``names`` are the tensors': the dense layer's weight and bias, then the projection's."""
        folder = Path(model.path)
        config = parse_config(read_json(folder / "config.json"), model.path)
        stored = stored_tensors(folder)
        if names == CLASSIFIER:
            head = classifier_of(stored, config, model.path)
        else:
            head = {plain: tensor for name, tensor in stored.items() if (plain := plain_name(name)) in names}
        if len(head) < len(names):
            raise InputError(f"{model.source} has no classifier.", "Name a model that was fine-tuned on labels.")
        weights = load_weights(head, device, torch.float32)
        form = linear_form(Dtype.FLOAT32, torch.float32, device, "tanh")
        if batch_invariant:
            form = invariant_form(form, torch.float32, device)
        dense, dense_bias, project, project_bias = (weights[name] for name in names)
        self._dense, self._project = form(dense, dense_bias), form(project, project_bias)
        self.nbytes = self._dense.nbytes + self._project.nbytes

    def __call__(self, first: torch.Tensor) -> torch.Tensor:
        """Logits. *Shape:* first ``[rows, hidden]``, of each ``<s>``; result ``[rows, classes]``, float32."""
        return self._project(self._dense.activated(first.float()))
