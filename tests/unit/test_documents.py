"""Digests of what was read: any difference shows, and nothing else does."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.documents import (
    EXCERPT_CHARACTERS,
    Batch,
    Document,
    Origin,
    Reason,
    Reject,
    Stage,
    input_digest,
    items_digest,
    reject_of,
)

ORIGIN = Origin("/c.jsonl", 7, 2)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
documents = st.builds(
    Document,
    id=text,
    text=text,
    pair=st.none() | text,
    origin=st.builds(Origin, st.sampled_from(["/a", "/b"]), st.integers(0, 9), st.integers(0, 9)),
    kept=st.tuples(st.none() | st.integers() | text),
)
rejects = st.builds(
    Reject,
    id=text,
    origin=st.builds(Origin, st.just("/a"), st.integers(0, 9), st.integers(0, 9)),
    stage=st.just(Stage.READ),
    reason=st.sampled_from(Reason),
    detail=text,
    text_sha256=st.sampled_from(["", "ab" * 32]),
)
items = st.lists(documents | rejects, max_size=4)


def content(item: Document | Reject) -> tuple[object, ...]:
    """What of an item is in its digest."""
    if isinstance(item, Document):
        return item.id, item.text, item.pair, item.kept
    return item.id, item.reason, item.origin.offset, item.text_sha256


@given(items, items)
@settings(deadline=None)
def test_two_lists_have_one_digest_only_if_they_are_the_same(
    one: list[Document | Reject], other: list[Document | Reject]
) -> None:
    same = [content(item) for item in one] == [content(item) for item in other]
    assert (items_digest(one) == items_digest(other)) == same


@given(documents)
@settings(deadline=None)
def test_where_a_document_lies_is_no_part_of_its_digest(document: Document) -> None:
    moved = document._replace(origin=Origin("/elsewhere", 99, 99))
    assert items_digest([document]) == items_digest([moved])


@given(text, text, text, text)
@settings(deadline=None)
def test_a_pair_is_not_its_joined_text(a: str, b: str, c: str, d: str) -> None:
    assume((a, b) != (c, d))
    assert input_digest(a, b) != input_digest(c, d)
    assert input_digest(a + b) != input_digest(a, b)


def test_the_digest_of_a_text_is_that_of_its_bytes() -> None:
    assert input_digest("é") == hashlib.blake2b("é".encode(), digest_size=16).digest()


def test_an_empty_pair_is_not_no_pair() -> None:
    assert input_digest("a", "") != input_digest("a")
    assert items_digest([Document("1", "a", "", ORIGIN)]) != items_digest([Document("1", "a", None, ORIGIN)])


def test_a_reject_keeps_the_beginning_of_the_text_and_its_digest() -> None:
    document = Document("7", "é" * 1000, None, ORIGIN)
    reject = reject_of(document, Stage.EXTRACT, Reason.NOT_FINITE, "not finite", attempts=2)
    assert reject.excerpt == "é" * EXCERPT_CHARACTERS
    assert reject.text_sha256 == hashlib.sha256(document.text.encode()).hexdigest()
    assert (reject.id, reject.origin, reject.stage, reject.attempts) == ("7", ORIGIN, Stage.EXTRACT, 2)


@pytest.mark.parametrize("broken", ["\ud800", "a\udfffb"])
def test_text_that_no_encoding_has_can_still_be_rejected(broken: str) -> None:
    reject = reject_of(Document("7", broken, None, ORIGIN), Stage.EXTRACT, Reason.CRASH, "crash")
    assert len(reject.text_sha256) == 64
    assert items_digest([reject]) != items_digest([])


def test_a_batch_knows_its_documents_and_its_rejects() -> None:
    document, reject = Document("1", "a", None, ORIGIN), Reject("2", ORIGIN, Stage.READ, Reason.BAD_ROW, "bad")
    batch = Batch(0, 0, [reject, document])
    assert batch.documents == [document]
    assert batch.rejects == [reject]
