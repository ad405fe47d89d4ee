"""Token and word vectors are those of transformers: any layer, any mixture, special tokens included, in windows too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.features.word_split import split_words
from pipelines.hub import Roberta
from pipelines.roberta.checkpoint import find
from pipelines.spec import (
    CorpusSpec,
    Dtype,
    FeatureSpec,
    Long,
    LongTexts,
    ModelRef,
    Pooling,
    RunSpec,
    Storage,
    TokensOptions,
    WordsOptions,
    WordSource,
    embedding_feature,
    tokens_feature,
    words_feature,
)

Floats = npt.NDArray[np.floating]
MODEL_TYPES = ("roberta", "xlm-roberta", "camembert")
TOLERANCE = 1e-5


def extracted(
    folder: Path, texts: list[str], made: Callable[[ModelRef, int], list[FeatureSpec]], **run: Any
) -> list[dict[str, Any]]:
    """The rows of texts; ``made`` makes features for a model and its number of layers."""
    model = find(str(folder))
    given = {"max_tokens": 100, "dtype": Dtype.FLOAT32, "batch_documents": 512, **run}
    spec = RunSpec(CorpusSpec(()), model, tuple(made(model, 2)), **given)
    documents = [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)]
    table = Extractor(spec, token_budget=1000).extract(Batch(0, 0, [*documents])).table
    assert table.num_rows == len(texts)
    vectors = [name for name in table.column_names if "_vectors" in name]
    rows: list[dict[str, Any]] = table.drop_columns(vectors).to_pylist()
    for name in vectors:
        for row, cell in zip(rows, table[name], strict=True):
            row[name] = matrix(cell)
    return rows


def matrix(cell: pa.Scalar) -> Floats:
    numbers: Floats = cell.values.flatten().to_numpy(zero_copy_only=False).reshape(-1, cell.type.value_type.list_size)
    return numbers


class Truth:
    """Hidden states and places of tokens as transformers has them; a text in windows is read by hand."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
        self.model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

    def hidden(self, ids: list[int]) -> Floats:
        """*Shape:* ``[layers + 1, tokens, hidden]``."""
        with torch.inference_mode():
            output = self.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        return np.stack([state[0].numpy() for state in output.hidden_states])

    def read(self, text: str, max_tokens: int) -> tuple[list[int], list[tuple[int, int]]]:
        found = self.tokenizer(text, truncation=True, max_length=max_tokens, return_offsets_mapping=True)
        return found["input_ids"], [tuple(place) for place in found["offset_mapping"]]


def both(model: ModelRef, layers: int) -> list[FeatureSpec]:
    return [
        tokens_feature(model, TokensOptions((0, 1, -1), each=True), layers=layers),
        words_feature(model, WordsOptions(WordSource.SPLIT, (1, -1), (0.25, 2.0)), layers=layers),
    ]


def check_sums(row: dict[str, Any]) -> None:
    """The sum over the words is that over the tokens, to what float32 can hold of it."""
    mixed = 0.25 * row["token_vectors_1"].astype(np.float64) + 2 * row["token_vectors_2"].astype(np.float64)
    np.testing.assert_allclose(row["word_vectors"].sum(0, dtype=np.float64), mixed.sum(0), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_tokens_are_those_of_transformers(
    model_type: str, checkpoints: dict[str, tuple[Path, Path]], odd_texts: Callable[[str], list[str]]
) -> None:
    folder, texts = checkpoints[model_type][0], odd_texts(model_type)
    truth = Truth(folder)
    for text, row in zip(texts, extracted(folder, texts, both), strict=True):
        ids, places = truth.read(text, 100)
        hidden = truth.hidden(ids)
        assert row["token_ids"] == ids
        for layer in range(3):
            assert np.abs(row[f"token_vectors_{layer}"] - hidden[layer]).max() <= TOLERANCE
        assert [row["tokens"][0], row["tokens"][-1]] == ["<s>", "</s>"]
        found = list(zip(row["token_begins"], row["token_ends"], strict=True))
        assert found[0] == (0, 0)
        end = len(text) if row["n_used"] == row["n_tokens"] else max(end for _, end in found[1:-1])
        assert found[-1] == (end, end)
        if model_type == "roberta":  # transformers leaves a token's first blank out (trim_offsets)
            assert [(end - len(text[begin:end].lstrip()), end) for begin, end in found[1:-1]] == [
                (end - len(text[begin:end].lstrip()), end) for begin, end in places[1:-1]
            ]
        else:
            assert found[1:-1] == places[1:-1]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_words_are_sums_of_what_transformers_gives_their_tokens(
    model_type: str, checkpoints: dict[str, tuple[Path, Path]], odd_texts: Callable[[str], list[str]]
) -> None:
    folder, texts = checkpoints[model_type][0], odd_texts(model_type)
    truth = Truth(folder)
    for text, row in zip(texts, extracted(folder, texts, both), strict=True):
        ids, places = truth.read(text, 100)
        hidden = truth.hidden(ids)
        mixed = 0.25 * hidden[1] + 2 * hidden[2]
        check_sums(row)
        assert np.abs(row["word_vectors"][0] - mixed[0]).max() <= TOLERANCE
        begins, ends = row["word_begins"], row["word_ends"]
        assert row["words"][1:-1] == [text[begin:end] for begin, end in zip(begins[1:-1], ends[1:-1], strict=True)]
        used = max((end for _, end in places[1:-1]), default=0)
        assert [*zip(begins[1:-1], ends[1:-1], strict=True)] == [
            (begin, end) for begin, end in split_words(text) if begin < used
        ]
        by_hand = np.zeros((len(begins), mixed.shape[1]))
        for token, homes in enumerate(homes_of(places, begins, ends, text)):
            by_hand[homes] += mixed[token] / len(homes)
        assert np.abs(row["word_vectors"] - by_hand).max() <= 5 * TOLERANCE * max(1, np.abs(by_hand).max() / 10)


def homes_of(places: list[tuple[int, int]], begins: list[int], ends: list[int], text: str) -> list[list[int]]:
    """The rows that each token is of: the words with its characters, of a token of blanks those of the next one."""
    homes = [
        [
            word
            for word in range(1, len(begins) - 1)
            if any(begins[word] <= place < ends[word] for place in range(begin, end) if not text[place].isspace())
        ]
        for begin, end in places[1:-1]
    ]
    following = [len(begins) - 1]
    for token in reversed(range(len(homes))):
        homes[token] = homes[token] or following[:1]
        following = homes[token]
    return [[0], *homes, [len(begins) - 1]]


@pytest.mark.parametrize("stride", [0, 7, 25])
def test_windows_give_each_token_once_from_the_window_that_knows_most(
    stride: int, checkpoints: dict[str, tuple[Path, Path]], odd_texts: Callable[[str], list[str]]
) -> None:
    folder = checkpoints["roberta"][0]
    texts = [*[text for text in odd_texts("roberta") if len(text) > 200][:4], "", "short"]
    room = 30
    rows = extracted(folder, texts, both, max_tokens=room + 2, long=LongTexts(Long.WINDOW, stride))
    truth = Truth(folder)
    for text, row in zip(texts, rows, strict=True):
        ids, _ = truth.read(text, 10**6)
        assert row["token_ids"] == ids
        body, begins = ids[1:-1], [0]
        while begins[-1] + room < len(body):
            begins.append(begins[-1] + room - stride)
        windows = [truth.hidden([0, *body[begin : begin + room], 2]) for begin in begins]
        assert row["n_windows"] == len(begins)
        wanted = [windows[0][:, 0]]
        for token in range(len(body)):
            chosen, farthest = 0, -1
            for number, begin in enumerate(begins):
                end = min(begin + room, len(body))
                before = token - begin if begin else len(body)
                after = end - 1 - token if end < len(body) else len(body)
                if begin <= token < end and min(before, after) > farthest:
                    chosen, farthest = number, min(before, after)
            wanted.append(windows[chosen][:, 1 + token - begins[chosen]])
        hidden = np.stack([*wanted, windows[-1][:, -1]], axis=1)
        for layer in range(3):
            assert np.abs(row[f"token_vectors_{layer}"] - hidden[layer]).max() <= TOLERANCE
        check_sums(row)
        assert row["words"][1:-1] == [text[begin:end] for begin, end in split_words(text)]


def test_they_share_a_pass_with_an_embedding_and_can_be_stored_as_halves(
    checkpoints: dict[str, tuple[Path, Path]], texts: list[str]
) -> None:
    def made(model: ModelRef, layers: int) -> list[FeatureSpec]:
        return [
            embedding_feature(model, Pooling.MEAN),
            tokens_feature(model, TokensOptions(storage=Storage.FLOAT16), layers=layers),
            words_feature(model, WordsOptions(WordSource.BLANKS, storage=Storage.FLOAT16), layers=layers),
        ]

    for text, row in zip(
        texts[:9], extracted(checkpoints["roberta"][0], texts[:9], made, prefix="query: "), strict=True
    ):
        assert row["token_vectors"].dtype == row["word_vectors"].dtype == np.float16
        mean = row["token_vectors"].astype(np.float32).mean(0)
        assert np.abs(mean - np.array(row["embedding"], np.float32)).max() < 1e-3
        used = [*zip(row["words"], row["word_begins"], row["word_ends"], strict=True)]
        assert used[:2] == [("<s>", 0, 0), ("query:", 0, 0)]
        whole = row["n_used"] == row["n_tokens"]
        words = text.split() if whole else text.split()[: len(used) - 3]
        assert [word for word, _, _ in used[2:-1]] == words
        assert all(text[begin:end] == word for word, begin, end in used[2:-1])
        assert all(
            piece.strip() in text[begin:end] or begin == end
            for piece, begin, end in zip(row["tokens"], row["token_begins"], row["token_ends"], strict=True)
        )


def test_words_are_those_that_are_made_by_hand(
    checkpoints: dict[str, tuple[Path, Path]], odd_texts: Callable[[str], list[str]]
) -> None:
    folder, texts = checkpoints["roberta"][0], [text for text in odd_texts("roberta") if len(text) < 100]
    roberta = Roberta.load(str(folder))
    for text, row in zip(texts, extracted(folder, texts, both, max_tokens=190), strict=True):
        words = roberta.extract_features_aligned_to_words(text, return_all_hiddens=True)
        assert [word.text for word in words] == row["words"]
        assert [(word.begin, word.end) for word in words] == [*zip(row["word_begins"], row["word_ends"], strict=True)]
        vectors = np.stack([word.vector.numpy() for word in words], axis=1)
        assert np.abs(0.25 * vectors[1] + 2 * vectors[2] - row["word_vectors"]).max() <= 5 * TOLERANCE
