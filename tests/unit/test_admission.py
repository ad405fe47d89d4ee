"""What is taken from the queue: two ids, whatever else a message says."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.admission import MAX_MESSAGE_BYTES, ForeignMessageError, admitted
from tasks.keys import EXTRACT_TASK

RUN = "0123456789abcdef"


def message(arguments: object = (RUN, 3), *, content: bytes | None = None, **more: Any) -> bytes:
    """A message as `send_batch` makes it, but for what is given."""
    wanted: dict[str, Any] = {
        "body": base64.b64encode(json.dumps([arguments, {}, {}]).encode() if content is None else content).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": EXTRACT_TASK, "id": f"{RUN}:3"},
        "properties": {"body_encoding": "base64", "delivery_tag": "t"},
    }
    for key, value in more.items():
        there = wanted.get(key)
        wanted[key] = there | value if isinstance(there, dict) and isinstance(value, dict) else value
    return json.dumps(wanted).encode()


def test_two_ids_are_all_that_is_taken() -> None:
    """Callbacks, times and limits on a message's word would let its writer publish tasks and end processes."""
    embedded = {"callbacks": [{"task": "celery.backend_cleanup"}], "chord": {"task": "x"}, "chain": [{"task": "x"}]}
    found = admitted(
        message(
            content=json.dumps([[RUN, 3], {}, embedded]).encode(),
            headers={"eta": "2999-01-01", "timelimit": [0.001, 0.001], "id": "x" * 999, "retries": 10**9},
            properties={"delivery_tag": "forged", "reply_to": "elsewhere", "delivery_info": {"routing_key": "../.."}},
        )
    )
    arguments, options, links = json.loads(base64.b64decode(found["body"]))
    assert (arguments, options, links) == ([RUN, 3], {}, {})
    headers, properties = found["headers"], found["properties"]
    assert (headers["id"], headers["eta"], headers["timelimit"], headers["retries"]) == (
        f"{RUN}:3",
        None,
        [None] * 2,
        0,
    )
    assert properties["delivery_tag"] != "forged"
    assert properties["reply_to"] == ""
    assert "forged" not in json.dumps(found)


@pytest.mark.parametrize(
    "arguments",
    [
        [RUN],
        [RUN, 3, 4],
        {RUN: 3},
        [RUN, "3"],
        [RUN, -1],
        [RUN, 10**30],
        [RUN, True],
        [RUN, 3.0],
        [RUN, None],
        [RUN, [3]],
        [3, 3],
        [None, 3],
        ["", 3],
        ["../../etc", 3],
        ["/etc/passwd", 3],
        ["..", 3],
        ["a/b", 3],
        ["a\x00b", 3],
        ["a\nb", 3],
        ["a:b", 3],
        ["{other}", 3],
        ["ü", 3],
        [RUN * 9, 3],
    ],
    ids=repr,
)
def test_what_names_no_batch_is_refused(arguments: object) -> None:
    with pytest.raises(ForeignMessageError, match="does not name a"):
        admitted(message(arguments))


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"task": "penstock.other"}},
        {"headers": {"task": "celery.backend_cleanup"}},
        {"headers": {"task": [EXTRACT_TASK]}},
        {"headers": None},
        {"headers": []},
        {"properties": None},
        {"properties": {"body_encoding": "utf-8"}},
        {"content-type": "application/x-python-serialize"},
        {"content-type": "application/x-yaml"},
        {"content-type": None},
        {"body": None},
        {"body": 7},
        {"body": "no base64!"},
        {"body": base64.b64encode(b"[" * 9000 + b"]" * 9000).decode()[:8000]},
    ],
    ids=lambda more: repr(more)[:60],
)
def test_other_messages_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ForeignMessageError):
        admitted(message(**more))


@pytest.mark.parametrize(
    ("compression", "packed"),
    [
        ("application/x-gzip", zlib.compress(bytes(2**22))),
        ("application/x-bz2", bz2.compress(bytes(2**22))),
        ("application/x-lzma", lzma.compress(bytes(2**22))),
        ("zstd", b""),
    ],
)
def test_a_compressed_message_is_refused_as_it_is(compression: str, packed: bytes) -> None:
    with pytest.raises(ForeignMessageError, match="not plain JSON"):
        admitted(message(content=packed, headers={"compression": compression}))


@pytest.mark.parametrize("entry", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"7", b'"x"', b"[" * 9000, b"9" * 9000])
def test_what_is_no_message_is_refused(entry: bytes) -> None:
    with pytest.raises(ForeignMessageError):
        admitted(entry)


def test_a_large_entry_is_not_even_parsed() -> None:
    with pytest.raises(ForeignMessageError, match="bytes"):
        admitted(message(padding=" " * MAX_MESSAGE_BYTES))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from([RUN, EXTRACT_TASK]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("body", "content-type", "headers", "properties"), json_values))
)
def test_nothing_but_a_refusal_comes_of_anything(more: dict[str, Any]) -> None:
    try:
        found = admitted(message(**more))
    except ForeignMessageError:
        return
    assert json.loads(base64.b64decode(found["body"]))[0] == [RUN, 3]
