"""A pickle read as plain data: nothing is imported and nothing is called, whatever it asks for.

The stack machine of the pickle format (https://docs.python.org/3/library/pickletools.html), for the few things that a
checkpoint consists of. Every class or function that it names must be on a short list; none of them is ever looked up.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Mapping
from typing import IO, Any, cast

from pipelines.errors import InputError
from pipelines.roberta.fairseq.bounded import Bounded
from pipelines.roberta.fairseq.described import Attributes, Inert, storage_of, tensor_of
from pipelines.roberta.fairseq.globals import Named, is_allowed

MAX_STEPS = 5_000_000
"""A large checkpoint with its optimiser takes about 100,000. What a step copies counts as well."""
MAX_NAME = 300
DAMAGED = "Get the checkpoint again."
_FAULTS = (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, AssertionError, struct.error)


def unpickled(file: Bounded, place: str, storages: dict[str, str] | None = None) -> object:
    """The object of the pickle at which ``file`` stands, as plain data; the file stands behind the pickle then.

    ``storages`` gets key and type of every storage that the pickle refers to. Raises InputError for a damaged pickle
    and for one that names any class or function that is not listed; ``place`` names it there.
    """
    try:
        return _Machine(place, {} if storages is None else storages).run(file)
    except (*_FAULTS, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{place} is cut off or damaged: {reason[:200]}.", DAMAGED) from error


class _Machine:
    """The stack machine of one pickle."""

    def __init__(self, place: str, storages: dict[str, str]) -> None:
        self._place = place
        self._storages = storages
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0

    def run(self, file: Bounded) -> object:
        for opcode, argument, _ in pickletools.genops(cast("IO[bytes]", file)):
            self._count(1)
            self._step(opcode.name, argument)
        (result,) = self._stack
        return result

    def _step(self, name: str, argument: Any) -> None:
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self._below.append(self._stack)
                self._stack = []
            case "POP" if not self._stack:
                self._marked()
            case "POP":
                self._stack.pop()
            case "POP_MARK":
                self._marked()
            case "DUP":
                self._stack.append(self._stack[-1])
            case "GET" | "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo[argument])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._stack[-1]
            case "GLOBAL":
                self._stack.append(self._named(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                attribute, module = self._stack.pop(), self._stack.pop()
                if not all(isinstance(part, str) and len(part) < MAX_NAME for part in (module, attribute)):
                    raise ValueError("its pickle has a name that is none")
                self._stack.append(self._named(f"{module}.{attribute}"))
            case "REDUCE" | "NEWOBJ":
                arguments, callee = self._stack.pop(), self._stack.pop()
                self._count_copied(arguments)
                self._stack.append(self._made(callee, arguments))
            case "BUILD":
                state = self._stack.pop()
                self._count_copied(state)
                _build(self._stack[-1], state)
            case "BINPERSID":
                identity = self._stack.pop()
                self._count_copied(identity)
                storage = storage_of(identity)
                if self._storages.setdefault(storage.key, storage.kind) != storage.kind:
                    raise ValueError("its pickle has a storage of two types")
                self._stack.append(storage)
            case _ if name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            case _ if name in _LITERALS:
                self._stack.append(argument)
            case _:
                self._collect(name)

    def _collect(self, name: str) -> None:
        match name:
            case "EMPTY_DICT":
                self._stack.append({})
            case "EMPTY_LIST":
                self._stack.append([])
            case "EMPTY_SET":
                self._stack.append(set())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                items = self._stack[-count:]
                if len(items) < count:
                    raise ValueError("its pickle takes more than is there")
                self._stack[-count:] = [tuple(items)]
            case "TUPLE":
                marked = self._marked()
                self._stack.append(tuple(marked))
            case "LIST":
                marked = self._marked()
                self._stack.append(marked)
            case "DICT":
                marked = self._marked()
                self._stack.append(_filled({}, marked))
            case "FROZENSET":
                marked = self._marked()
                self._stack.append(frozenset(map(_key, marked)))
            case "APPEND":
                item = self._stack.pop()
                _exactly(self._stack[-1], list).append(item)
            case "APPENDS":
                marked = self._marked()
                _exactly(self._stack[-1], list).extend(marked)
            case "ADDITEMS":
                marked = self._marked()
                _exactly(self._stack[-1], set).update(map(_key, marked))
            case "SETITEM":
                value, key = self._stack.pop(), self._stack.pop()
                _filled(_exactly(self._stack[-1], dict), [key, value])
            case "SETITEMS":
                marked = self._marked()
                _filled(_exactly(self._stack[-1], dict), marked)
            case _:
                raise ValueError(f"its pickle has the step {name}, which no checkpoint needs")

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise ValueError(f"its pickle takes more than {MAX_STEPS} steps")

    def _count_copied(self, value: object) -> None:
        """Count what is about to be gone through; one that is named again and again costs again and again."""
        if isinstance(value, tuple | list | dict):
            self._count(len(value))
            if isinstance(value, tuple):
                self._count(sum(len(part) for part in value if isinstance(part, tuple | list | dict)))

    def _marked(self) -> list[Any]:
        """What lies above the last mark, taken away with it."""
        marked, self._stack = self._stack, self._below.pop()
        return marked

    def _named(self, name: str) -> Named:
        if not is_allowed(name):
            raise InputError(
                f"{self._place} wants to use {name[:80]!r}, which no RoBERTa checkpoint needs; nothing of it was run.",
                "Wanted a checkpoint as fairseq saves it: ask where this one comes from.",
            )
        return Named(name)

    def _made(self, callee: object, arguments: object) -> object:
        if not isinstance(callee, Named) or not isinstance(arguments, tuple):
            raise ValueError("its pickle calls what is no function")
        match callee.name:
            case "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor":
                return tensor_of(*arguments[:4])
            case "torch._utils._rebuild_parameter":
                return arguments[0]
            case "collections.OrderedDict":
                pairs = arguments[0] if arguments else []
                return _filled({}, [part for key, value in pairs for part in (key, value)])
            case "collections.defaultdict":
                return {}
            case "argparse.Namespace":
                return Attributes()
            case "torch.Size":
                return tuple(arguments[0])
        return Inert(callee.name, arguments)


_CONSTANTS: Mapping[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}


def _key(value: object) -> object:
    """A key or member; never a tuple, for the hash of a deeply nested one takes for ever, or ends the process."""
    if value is None or isinstance(value, str | bytes | int | float | Inert | Named):
        return value
    raise ValueError(f"its pickle has a {type(value).__name__} for a key")


def _filled(target: dict[Any, Any], flat: list[Any]) -> dict[Any, Any]:
    if len(flat) % 2:
        raise ValueError("its pickle has a key without a value")
    target.update((_key(key), value) for key, value in zip(flat[::2], flat[1::2], strict=True))
    return target


def _exactly(value: object, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"its pickle puts items into a {type(value).__name__}")
    return value


def _build(target: object, state: object) -> None:
    if isinstance(target, Attributes):
        target.update({key: value for key, value in _exactly(state, dict).items() if isinstance(key, str)})
    elif isinstance(target, Inert):
        target.state = state
    elif not isinstance(target, dict):  # the attributes of an OrderedDict are nothing to us
        raise ValueError(f"its pickle gives a state to a {type(target).__name__}")
