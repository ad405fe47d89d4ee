"""Pickles are read as plain data; those that no checkpoint has are refused in one line, and nothing of them is run."""

from __future__ import annotations

import io
import pickle
import struct

import pytest

from pipelines.errors import InputError
from pipelines.roberta.fairseq import pickled
from pipelines.roberta.fairseq.bounded import Bounded
from pipelines.roberta.fairseq.pickled import unpickled


@pytest.mark.parametrize(
    "name",
    [
        *("builtins eval", "builtins getattr", "builtins __import__", "__builtin__ exec", "os system", "nt system"),
        *("subprocess Popen", "torch load", "torch._utils _rebuild_device_tensor_from_numpy", "torch.storage x"),
        *("fairseq_evil run", "collections OrderedDict.__class__", "argparse Namespace.__init__"),
        *("importlib import_module", "numpy.testing._private.utils runstring", "copyreg _reconstructor"),
    ],
)
def test_every_name_outside_the_list_is_refused_by_name(name: str) -> None:
    module, _, attribute = name.partition(" ")
    for content in (
        f"c{module}\n{attribute}\n.".encode(),
        b"\x80\x04" + b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, attribute)) + b"\x93.",
    ):
        with pytest.raises(InputError, match="nothing of it was run") as caught:
            unpickled(Bounded(io.BytesIO(content), len(content)), "x")
        assert repr(name.replace(" ", ".")) in str(caught.value)


def nested(opening: bytes, closing: bytes, depth: int = 100_000) -> bytes:
    return b"\x80\x02" + opening * depth + closing * depth + b"."


SHARED = b"\x80\x02)" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(200))
BILLION = b"\x80\x04)" + b"2\x86" * 60
"""A tuple of two, sixty deep: small here, 2**60 pieces to whoever walks it."""


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(BILLION + b"\x8c\x01x\x93.", id="a name of 2**60 pieces"),
        pytest.param(b"\x80\x04}" + BILLION[2:] + b"K\x01s.", id="a key whose hash takes for ever"),
        pytest.param(b"\x80\x04}" + b")" + b"\x85" * 200_000 + b"K\x01s.", id="a key too deep to hash"),
        pytest.param(b"\x80\x04\x8f(" + BILLION[2:] + b"\x90.", id="a member of a set whose hash takes for ever"),
        pytest.param(b"\x80\x02K\x01r\xff\xff\xff\xffj\x00\x00\x00\x00.", id="a memo of four billion places"),
        pytest.param(b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x.", id="a string of a terabyte"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b"x.", id="bytes of eight exabytes"),
        pytest.param(b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.", id="a number of two gigabytes"),
        pytest.param(b"\x80\x02\x8b" + struct.pack("<i", -1) + b".", id="a number of less than no bytes"),
        pytest.param(b"I" + b"1" * 100_000 + b"\n.", id="a number of 100,000 digits"),
        pytest.param(b"\x80\x02.", id="nothing"),
        pytest.param(b"\x80\x02K\x01K\x02.", id="two things"),
        pytest.param(b"\x80\x02000000.", id="more taken than there is"),
        pytest.param(b"\x80\x02e.", id="items without a mark"),
        pytest.param(b"\x80\x02K\x01R.", id="a call of nothing"),
        pytest.param(b"\x80\x02K\x01)R.", id="a call of a number"),
        pytest.param(b"\x80\x02cargparse\nNamespace\n)\x81K\x01b.", id="attributes that are none"),
        pytest.param(b"\x80\x02K\x01}b.", id="attributes of a number"),
        pytest.param(b"\x80\x02}(K\x01u.", id="a key without a value"),
        pytest.param(b"(cargparse\nNamespace\no.", id="an old way to make objects"),
        pytest.param(b"(iargparse\nNamespace\n.", id="another old way"),
        pytest.param(b"\x80\x02\x82\x01.", id="a name from the registry of copyreg"),
        pytest.param(b"\x80\x02ccollections\nOrderedDict\n(K\x01tR.", id="pairs that are none"),
        pytest.param(b"\x80\x02ctorch\nSize\nK\x01\x85R.", id="a size that is none"),
        pytest.param(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", id="a tensor of nothing"),
        pytest.param(b"\x80\x02(X\x07\x00\x00\x00storageK\x01tQ.", id="a storage that is none"),
        pytest.param(b"\x80\x02(X\x06\x00\x00\x00moduleK\x01tQ.", id="a module"),
        pytest.param(
            b"\x80\x02]("
            + b"]" * 50_000
            + b"eq\x000ccollections\nOrderedDict\nq\x010"
            + b"h\x01h\x00\x85R0" * 200
            + b"N.",
            id="a long list copied again and again",
        ),
        pytest.param(
            b"\x80\x02(" + b"K\x01" * 50_000 + b"tq\x000ctorch\nSize\nq\x010" + b"h\x01h\x00\x85R0" * 200 + b"N.",
            id="a long size copied again and again",
        ),
        pytest.param(
            b"\x80\x04X" + struct.pack("<I", 2000) + b"fairseq." + b"x" * 1992 + b"\x8c\x01y\x93.",
            id="a name without end",
        ),
        pytest.param(b"", id="no pickle"),
        pytest.param(b"\x80", id="half a step"),
        pytest.param(b"\xff", id="a step that there is not"),
    ],
)
def test_a_pickle_that_no_checkpoint_has_is_refused_at_once(content: bytes) -> None:
    with pytest.raises(InputError, match="cut off or damaged") as caught:
        unpickled(Bounded(io.BytesIO(content), len(content)), "x")
    assert "\n" not in str(caught.value)


def test_depth_and_loops_are_read_and_do_no_harm() -> None:
    for content in (
        nested(b"(", b"t"),
        nested(b"]", b"a", 99_999).replace(b"a.", b"."),
        b"\x80\x02]q\x00h\x00a.",
        SHARED + b".",
    ):
        unpickled(Bounded(io.BytesIO(content), len(content)), "x")


def test_plain_values_are_those_of_pickle() -> None:
    value = {
        "text": ["ünï", "x" * 300, ""],
        "numbers": (0, 255, 70_000, -1, 2**40, -(2**90), 1.5, float("inf")),
        "deep": {"a": {"b": ({"c": []}, True, False, None)}},
        7: ("one",),
    }
    newer = value | {"bytes": [b"", b"\xff" * 300], "set": {1, 2}, "frozen": frozenset("ab")}
    for protocol, wanted in ((0, value), (1, value), (2, value), (3, value), (4, newer), (5, newer)):
        content = pickle.dumps(wanted, protocol)
        assert unpickled(Bounded(io.BytesIO(content), len(content)), "x") == wanted


def test_a_checkpoint_is_not_read_in_more_steps_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps(list(range(100)), 2)
    monkeypatch.setattr(pickled, "MAX_STEPS", 100)
    with pytest.raises(InputError, match="more than 100 steps"):
        unpickled(Bounded(io.BytesIO(content), len(content)), "x")
    many = b"\x80\x02(" + b"K\x01" * 50 + b"tq\x000ctorch\nSize\nq\x010" + b"h\x01h\x00\x85R0" * 2 + b"N."
    with pytest.raises(InputError, match="more than 100 steps"):
        unpickled(Bounded(io.BytesIO(many), len(many)), "x")
