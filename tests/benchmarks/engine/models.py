"""Checkpoints of known shapes with random weights, and the tokenizer they all share.

Weights are drawn wider than usual, so that vectors of different texts differ and a contestant that computes something
else is seen. With outside data the tokenizer is RoBERTa's own, else one that is trained on the made-up texts.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.texts import synthetic

ROOT = Path(__file__).resolve().parents[3]
TRAINING_TEXTS = 2000


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of an encoder. ``spread`` is the standard deviation of its random weights."""

    name: str
    layers: int
    hidden: int
    heads: int
    inner: int
    vocab: int
    spread: float

    def flops(self, lengths: list[int]) -> float:
        """Of one forward pass over documents of so many tokens: 2 per weight of a linear layer, and attention."""
        weights = self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.inner)
        return 2 * weights * sum(lengths) + 4 * self.layers * self.hidden * sum(length**2 for length in lengths)


TINY = Shape("tiny", 2, 64, 2, 128, 2000, 0.2)
BASE = Shape("roberta-base", 12, 768, 12, 3072, 50265, 0.05)
LARGE = Shape("roberta-large", 24, 1024, 16, 4096, 50265, 0.04)
SHAPES = {shape.name: shape for shape in (TINY, BASE, LARGE)}
LABELS = ("calm", "busy", "loud", "late")


def make_models(shape: Shape, folder: Path, data: Path | None) -> tuple[Path, Path]:
    """The folders of an encoder and of a classifier on the same encoder, made where they are not there yet."""
    encoder, classifier = folder / shape.name, folder / f"{shape.name}-labels"
    if not (classifier / "done").exists():
        _make(shape, encoder, classifier, data)
        (classifier / "done").touch()
    return encoder, classifier


def _make(shape: Shape, encoder: Path, classifier: Path, data: Path | None) -> None:
    import torch
    from transformers import RobertaConfig, RobertaForSequenceClassification
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = _tokenizer(encoder.with_name("tokenizer"), data)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=max(shape.vocab, len(tokenizer)),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        initializer_range=shape.spread,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    model = RobertaForSequenceClassification(config)
    model.save_pretrained(classifier)
    model.roberta.save_pretrained(encoder)
    for place in (encoder, classifier):
        tokenizer.save_pretrained(place)


def _tokenizer(place: Path, data: Path | None):
    from transformers import AutoTokenizer, RobertaTokenizer

    if data is not None:
        files = data / "tokenizer_roberta"
        return RobertaTokenizer(str(files / "vocab.json"), str(files / "merges.txt"), model_max_length=512)
    if not place.exists():
        spec = importlib.util.spec_from_file_location("make_model", ROOT / "examples" / "make_model.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.make_model(synthetic("mix", TRAINING_TEXTS), place, vocab_size=TINY.vocab)
    return AutoTokenizer.from_pretrained(place)
