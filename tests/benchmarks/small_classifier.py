"""Trains a small RoBERTa classifier from nothing: what number formats do to labels shows only where labels were learnt.

Plain torch and transformers, and none of penstock. Texts are cut short for training alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase, RobertaConfig, RobertaForSequenceClassification

INTERMEDIATE = 4
"""The inner width of a layer by its outer one, as in every published RoBERTa."""
WARM_UP = 0.1
SORTED_TOGETHER = 16
"""Batches that are drawn together and sorted by length: little padding, and yet another order in each epoch."""


@dataclass(frozen=True)
class Recipe:
    """The shape, and how it is trained. ``masked``: the share of tokens that are hidden from it at each step."""

    layers: int = 4
    hidden: int = 256
    heads: int = 4
    tokens: int = 64
    epochs: int = 8
    batch: int = 64
    peak_rate: float = 5e-4
    masked: float = 0.15
    seed: int = 0


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    recipe: Recipe,
    on_epoch: Callable[[int, float], None] = lambda number, loss: None,
) -> Path:
    """Write the trained checkpoint and its tokenizer to ``out``; ``on_epoch`` is told the mean loss of each epoch."""
    names = sorted(set(labels))
    torch.manual_seed(recipe.seed)
    model = RobertaForSequenceClassification(_config(recipe, tokenizer, names))
    ids = [torch.tensor(row) for row in tokenizer(list(texts), truncation=True, max_length=recipe.tokens)["input_ids"]]
    classes = torch.tensor([names.index(label) for label in labels])
    steps = recipe.epochs * -(-len(ids) // recipe.batch)
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.peak_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.peak_rate, steps, pct_start=WARM_UP, anneal_strategy="linear", cycle_momentum=False
    )
    model.train()
    for number in range(recipe.epochs):
        losses = []
        for rows in _shuffled([len(row) for row in ids], recipe.batch):
            padded = pad_sequence([ids[row] for row in rows], batch_first=True, padding_value=tokenizer.pad_token_id)
            seen = padded != tokenizer.pad_token_id
            hidden = (torch.rand(padded.shape) < recipe.masked) & seen
            hidden[:, 0] = False  # <s> is what the classifier reads
            given = padded.masked_fill(hidden, tokenizer.mask_token_id)
            with _fast():
                loss = model(input_ids=given, attention_mask=seen, labels=classes[rows]).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            rate.step()
            losses.append(loss.item())
        on_epoch(number + 1, sum(losses) / len(losses))
    model.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def _config(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> RobertaConfig:
    return RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=INTERMEDIATE * recipe.hidden,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )


def _shuffled(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Every row once, in batches of rows of similar length."""
    order = torch.randperm(len(lengths)).tolist()
    batches = []
    for start in range(0, len(order), batch * SORTED_TOGETHER):
        drawn = sorted(order[start : start + batch * SORTED_TOGETHER], key=lengths.__getitem__)
        batches += [drawn[at : at + batch] for at in range(0, len(drawn), batch)]
    for number in torch.randperm(len(batches)).tolist():
        yield batches[number]


def _fast() -> contextlib.AbstractContextManager[object]:
    """bfloat16 where the CPU computes it; the weights stay float32."""
    if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()
