"""Ids to text and back, and which characters a token comes from: nothing is lost, whatever a text holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from unit.odd_strings import odd_strings

from pipelines.errors import DocumentError
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.sentences import bare, decode, encode
from pipelines.roberta.tokenizer import Tokenizer

VOCAB_SIZE = 600


@pytest.fixture(scope="module")
def small(tiny_model: Path) -> Tokenizer:
    return Tokenizer(tiny_model, "roberta", VOCAB_SIZE)


@pytest.fixture(scope="module")
def real(test_data: Path) -> Tokenizer:
    return Tokenizer(test_data / "tokenizer_roberta", "roberta", 50265)


def back(tokenizer: Tokenizer, *sentences: str, separator: bool = True, pieces: Pieces | None = None) -> list[str]:
    """Sentences encoded and decoded."""
    ids = encode(tokenizer, sentences, separator=separator).tolist()
    return decode(tokenizer, pieces or Pieces(tokenizer), ids, padding=1)


def test_sentences_are_put_together_as_fairseq_does(small: Tokenizer) -> None:
    a, b = bare(small, "the river").tolist(), bare(small, " turns").tolist()
    assert encode(small, ["the river"]).tolist() == [0, *a, 2]
    assert encode(small, ["the river", " turns", ""]).tolist() == [0, *a, 2, 2, *b, 2, 2, 2]
    assert encode(small, ["the river", " turns"], separator=False).tolist() == [0, *a, 2, *b, 2]
    assert encode(small, [""]).tolist() == [0, 2]
    assert encode(small, [""]).dtype == np.int32


def test_sentences_come_apart_again(small: Tokenizer) -> None:
    for sentences in (
        ["a"],
        [""],
        ["a", "b"],
        ["", ""],
        ["a", ""],
        ["", "b"],
        [" a ", "</s>", "\n"],
        ["</s></s>", "<s>"],
    ):
        assert back(small, *sentences) == sentences
    assert back(small, "the river", " turns", separator=False) == ["the river turns"]


def test_special_ids_are_read_as_fairseq_reads_them(small: Tokenizer) -> None:
    pieces, (river,) = Pieces(small), bare(small, " river").tolist()
    mask = pieces.mask
    assert mask is not None
    assert pieces.name(mask) == "<mask>"
    assert decode(small, pieces, [0, river, mask, river, 3, 2, 1, 1], padding=1) == [" river<mask> river<unk>"]
    assert decode(small, pieces, [river], padding=1) == [" river"]
    assert decode(small, pieces, [], padding=1) == [""]
    with pytest.raises(ValueError, match="no token 99999"):
        decode(small, pieces, [0, 99999, 2], padding=1)
    assert pieces.text_or_name(99999) == "<id 99999>"


def test_the_fillers_of_a_vocabulary_stand_for_no_text(real: Tokenizer) -> None:
    pieces = Pieces(real)
    assert pieces.mask == 50264
    with pytest.raises(ValueError, match=r"50261 .madeupword0000. stands for no text"):
        decode(real, pieces, [0, 31414, 50261, 2], padding=1)
    assert back(real, "madeupword0000") == ["madeupword0000"]


def test_a_text_that_is_no_unicode_is_refused_by_name(small: Tokenizer) -> None:
    with pytest.raises(DocumentError, match=r"half of a surrogate pair \(U\+D83D at character 2\)"):
        encode(small, ["a \ud83d b"])


def test_tokens_lie_side_by_side_and_share_only_split_characters(small: Tokenizer) -> None:
    pieces = Pieces(small)
    for text in odd_strings(300, seed=11):
        ids = bare(small, text)
        spans = pieces.spans(ids, text)
        assert spans.shape == (len(ids), 2)
        assert (spans[:, 0] < spans[:, 1]).all()
        assert ((spans[1:, 0] == spans[:-1, 1]) | (spans[1:, 0] == spans[:-1, 1] - 1)).all()
        for number, (begin, end) in zip(ids.tolist(), spans, strict=True):
            found = pieces.text([number])
            assert found == text[begin:end] or "\ufffd" in found
        cut = ids[: len(ids) // 2]
        assert np.array_equal(pieces.spans(cut, text), spans[: len(cut)])


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "camembert"])
def test_every_kind_of_tokenizer_knows_the_places_of_words(
    kind: str, make_model: Callable[..., Path], texts: list[str], tmp_path: Path
) -> None:
    folder = make_model(texts, tmp_path / "model", model_type=kind, vocab_size=700, layers=1)
    tokenizer = Tokenizer(folder, kind, 700)
    pieces = Pieces(tokenizer)
    for text in ["the river, turns  the old mill", "ﬁne “quotes” ①", *texts[:5]]:
        ids = bare(tokenizer, text)
        spans = pieces.spans(ids, text)
        covered = set().union(*(range(begin, end) for begin, end in spans))
        assert {place for place, letter in enumerate(text) if not letter.isspace()} <= covered
    assert back(tokenizer, "the river turns", "seven gates") == ["the river turns", "seven gates"]


def test_a_blank_that_the_tokenizer_puts_before_is_no_character(
    tiny_model: Path, make_model: Callable[..., Path], texts: list[str], tmp_path: Path
) -> None:
    folder = make_model(texts, tmp_path / "model", vocab_size=VOCAB_SIZE, layers=1)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"add_prefix_space": True}))
    tokenizer = Tokenizer(folder, "roberta", VOCAB_SIZE)
    pieces = Pieces(tokenizer)
    for text in ("river é turns", " river", "x", ""):
        ids = bare(tokenizer, text)
        spans = pieces.spans(ids, text)
        assert spans[:, 0].min(initial=0) == 0
        assert spans[:, 1].max(initial=0) == len(text)
        assert (spans[1:, 0] >= spans[:-1, 0]).all()
    assert pieces.text(bare(tokenizer, "river").tolist()) == " river"


def test_the_golden_ids_are_ours(real: Tokenizer, test_data: Path) -> None:
    lines = (test_data / "tokenizer_roberta" / "golden_ids_readme.jsonl").read_text(encoding="utf-8").splitlines()
    checked = 0
    for line in lines:
        golden = json.loads(line)
        if "<mask>" in golden["text"]:  # a mask in a text is text here
            continue
        assert encode(real, [golden["text"]]).tolist() == golden["ids"]
        assert back(real, golden["text"]) == [golden["text"]]
        checked += 1
    assert checked == 6


def test_naughty_strings_come_back(real: Tokenizer, test_data: Path) -> None:
    strings = json.loads((test_data / "naughty_strings" / "blns.json").read_text(encoding="utf-8"))
    lines = (test_data / "naughty_strings" / "blns.txt").read_text(encoding="utf-8").split("\n")
    assert len(strings) == 515
    pieces = Pieces(real)
    for text in [*strings, *lines]:
        assert back(real, text, pieces=pieces) == [text]
        assert back(real, text, text, pieces=pieces) == [text, text]


def test_every_sentence_of_fairseq_s_own_data_has_its_ids(real: Tokenizer, test_data: Path) -> None:
    """What fairseq-preprocess made of GLUE, all of it: decoded, and encoded again, to the same ids."""
    pieces, counts = Pieces(real), []
    root = test_data / "fairseq_bin_sst2_rte"
    for index in sorted(root.glob("*-bin/input?/*.idx")):
        rows = _rows(index)
        sentences = ["".join(decode(real, pieces, row.tolist(), padding=1)) for row in rows]
        encoded = real.encode(sentences, None, 10**6)
        for row, begin, end in zip(rows, encoded.offsets, encoded.offsets[1:], strict=False):
            assert encoded.ids[begin:end].tolist() == [0, *row.tolist()]
        counts.append(len(rows))
    assert sum(counts) == 67349 + 872 + 1821 + 2 * (2490 + 277 + 3000)


def test_the_training_sentences_have_the_ids_that_fairseq_gave_them(real: Tokenizer, test_data: Path) -> None:
    root = test_data / "fairseq_bin_sst2_rte"
    for table, bin_, columns in (
        (test_data / "glue_sst2" / "train.tsv", "SST-2-bin", ["sentence"]),
        (test_data / "glue_rte" / "train.tsv", "RTE-bin", ["sentence1", "sentence2"]),
    ):
        header, *lines = table.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        for side, column in enumerate(columns):
            place = header.split("\t").index(column)
            rows = _rows(root / bin_ / f"input{side}" / "train.idx")
            encoded = real.encode([line.split("\t")[place].strip() for line in lines], None, 10**6)
            assert len(rows) == len(lines)
            golden = np.concatenate([np.concatenate(([0], row)) for row in rows])
            assert np.array_equal(encoded.ids, golden)


def _rows(index: Path) -> list[np.ndarray]:
    """Items of an indexed dataset of fairseq: magic, version, dtype 8 (uint16), count, lengths, then offsets."""
    header = index.read_bytes()
    assert (header[:9], header[17]) == (b"MMIDIDX\0\0", 8)
    lengths = np.frombuffer(header, "<i4", int.from_bytes(header[18:26], "little"), 26)
    ids = np.fromfile(index.with_suffix(".bin"), "<u2").astype(int)
    return np.split(ids, np.cumsum(lengths)[:-1])
