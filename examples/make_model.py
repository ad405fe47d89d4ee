"""Make a small RoBERTa checkpoint with random weights and a tokenizer trained on a corpus: for tests, demonstrations
and machines that cannot reach a model hub.

    python examples/make_model.py corpus.jsonl --out tiny
    python examples/make_model.py corpus.jsonl --out sorter --labels spam,ham --encoder-from tiny
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModel,
    AutoTokenizer,
    CamembertConfig,
    CamembertForSequenceClassification,
    CamembertModel,
    CamembertTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)
from transformers.utils.logging import disable_progress_bar

CLASSES = {
    "roberta": (RobertaConfig, RobertaModel, RobertaForSequenceClassification),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel, XLMRobertaForSequenceClassification),
    "camembert": (CamembertConfig, CamembertModel, CamembertForSequenceClassification),
}
CALIBRATION_TEXTS = 64
INITIALIZER_RANGE = 0.2  # wider than the usual 0.02: a random encoder should tell texts, and its bugs, apart


def make_model(
    texts: Iterable[str],
    out: Path,
    *,
    hidden_size: int = 64,
    layers: int = 2,
    heads: int = 2,
    intermediate: int = 128,
    vocab_size: int = 2000,
    max_positions: int = 514,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    model_type: str = "roberta",
    head_scale: float = 0.1,
    encoder_from: Path | None = None,
) -> Path:
    """Write a checkpoint folder that transformers loads, and return it; the same arguments give the same bytes.

    The tokenizer is a byte-level BPE (``roberta``) or a Unigram (``xlm-roberta``, ``camembert``) trained on ``texts``.
    With ``labels`` a classification head goes on top, calibrated on ``texts``: each logit has mean 0 and standard
    deviation ``head_scale`` over them, so that labels differ from text to text. Higher is surer of itself, but it has
    learnt nothing that keeps texts apart, so bfloat16's rounding changes more labels. ``encoder_from`` takes encoder,
    tokenizer and sizes from another such folder; sizes given beside it are ignored.

    Raises ValueError for an unknown ``model_type``.
    """
    if model_type not in CLASSES:
        raise ValueError(f"model_type is {model_type!r}, wanted one of {', '.join(CLASSES)}")
    corpus = list(texts)
    out.mkdir(parents=True, exist_ok=True)
    if encoder_from is None:
        config_class, encoder_class, _ = CLASSES[model_type]
        tokenizer = _train(corpus, model_type, vocab_size)
        tokenizer.model_max_length = max_positions - 2
        tokenizer.save_pretrained(out)
        config = config_class(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=intermediate,
            max_position_embeddings=max_positions,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            initializer_range=INITIALIZER_RANGE,
            bos_token_id=tokenizer.bos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        torch.manual_seed(seed)
        encoder = encoder_class(config)
    else:
        for source in encoder_from.iterdir():
            if source.name not in ("config.json", "model.safetensors"):
                shutil.copyfile(source, out / source.name)
        tokenizer = AutoTokenizer.from_pretrained(encoder_from)
        encoder = AutoModel.from_pretrained(encoder_from)
        config = encoder.config
    model = encoder if labels is None else _classifier(encoder, config, labels, tokenizer, corpus, seed, head_scale)
    disable_progress_bar()  # one file of a few megabytes
    model.save_pretrained(out)
    return out


def _train(texts: list[str], model_type: str, vocab_size: int) -> RobertaTokenizer:
    if model_type == "roberta":
        trained = Tokenizer(models.BPE())
        trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        specials = ["<s>", "<pad>", "</s>", "<unk>"]
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trained.train_from_iterator(
            texts,
            trainers.BpeTrainer(
                vocab_size=vocab_size - 1, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
            ),
        )
        model = json.loads(trained.to_str())["model"]
        vocab = {**model["vocab"], "<mask>": len(model["vocab"])}
        return RobertaTokenizer(vocab=vocab, merges=[tuple(merge) for merge in model["merges"]])

    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    trained.train_from_iterator(
        texts,
        trainers.UnigramTrainer(
            vocab_size=vocab_size - 8, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
        ),
    )
    pieces = [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"] if piece != "<unk>"]
    if model_type == "xlm-roberta":
        specials = ["<s>", "<pad>", "</s>", "<unk>"]
    else:
        specials = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"]
    vocabulary = [*((special, 0.0) for special in specials), *pieces, ("<mask>", 0.0)]
    tokenizer_class = XLMRobertaTokenizer if model_type == "xlm-roberta" else CamembertTokenizer
    return tokenizer_class(vocab=vocabulary)


def _classifier(
    encoder: PreTrainedModel,
    config: PreTrainedConfig,
    labels: Sequence[str],
    tokenizer: RobertaTokenizer,
    texts: list[str],
    seed: int,
    head_scale: float,
) -> PreTrainedModel:
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    torch.manual_seed(seed + 1)
    model = CLASSES[config.model_type][2](config)
    model.base_model.load_state_dict(encoder.state_dict(), strict=False)  # the encoder's pooler has no place here
    model.eval()
    sample = texts[:CALIBRATION_TEXTS] or ["a", "b"]
    inputs = tokenizer(
        sample,
        padding=True,
        truncation=True,
        max_length=min(128, config.max_position_embeddings - 2),
        return_tensors="pt",
    )
    head = model.classifier
    with torch.inference_mode():
        first = model.base_model(**inputs).last_hidden_state[:, 0]
        hidden = head.dense(first)
        head.dense.weight /= hidden.std(dim=0, keepdim=True).T.clamp_min(1e-3)
        head.dense.bias.copy_(-head.dense(first).mean(dim=0))
        logits = head.out_proj(torch.tanh(head.dense(first)))
        head.out_proj.weight *= head_scale / logits.std(dim=0, keepdim=True).T.clamp_min(1e-3)
        head.out_proj.bias.copy_(-head.out_proj(torch.tanh(head.dense(first))).mean(dim=0))
    return model


def read_texts(path: Path, column: str = "text") -> Iterator[str]:
    """The texts of a JSON Lines file, or the lines of any other text file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)[column] if path.suffix == ".jsonl" else line.rstrip("\n")


def main() -> None:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Make a small RoBERTa checkpoint with random weights.")
    parser.add_argument("corpus", type=Path, help="JSON Lines with a column `text`, or a text file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model-type", choices=CLASSES, default="roberta")
    for option, default in (
        ("hidden-size", 64),
        ("layers", 2),
        ("heads", 2),
        ("intermediate", 128),
        ("vocab-size", 2000),
        ("max-positions", 514),
        ("seed", 0),
    ):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--labels", help="comma-separated: adds a classification head")
    parser.add_argument("--encoder-from", type=Path, help="take encoder and tokenizer from this checkpoint")
    parser.add_argument("--texts", type=int, default=10_000, help="how many texts the tokenizer sees at most")
    arguments = vars(parser.parse_args())
    texts = islice(read_texts(arguments.pop("corpus")), arguments.pop("texts"))
    labels = arguments.pop("labels")
    print(make_model(texts, arguments.pop("out"), labels=labels.split(",") if labels else None, **arguments))


if __name__ == "__main__":
    main()
