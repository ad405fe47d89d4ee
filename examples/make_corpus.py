"""Make a corpus of some 8,600 real texts that every machine with Python already has: the standard library's docstrings.

    python examples/make_corpus.py corpus.jsonl

Each line is ``{"id": "json/decoder.py:JSONDecoder.decode", "text": …, "module": "json"}``. The sources are parsed,
never imported; test suites and installed packages are left out.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def docstrings(source: bytes) -> Iterator[tuple[str, str]]:
    """The docstrings of a module: (qualified name, text), the module's own under the empty name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old sources are not our business
        tree = ast.parse(source)
    pending: list[tuple[str, ast.AST]] = [("", tree)]
    while pending:
        name, node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and text.strip():
                yield name, text
        for child in reversed(list(ast.iter_child_nodes(node))):
            own = getattr(child, "name", None) if not isinstance(child, ast.alias | ast.ExceptHandler) else None
            pending.append((".".join(filter(None, (name, own))) if own else name, child))


def documents(library: Path) -> Iterator[dict[str, str]]:
    """The documents of a standard library, in the order of its paths; an id that comes again gets ``#2``, ``#3``, …"""
    for path in sorted(library.rglob("*.py")):
        inside = path.relative_to(library)
        if LEFT_OUT & set(inside.parts):
            continue
        try:
            found = list(docstrings(path.read_bytes()))
        except (SyntaxError, ValueError):
            continue  # templates and files for other versions
        seen: Counter[str] = Counter()
        for name, text in found:
            seen[name] += 1
            again = f"#{seen[name]}" if seen[name] > 1 else ""
            place = f"{inside.as_posix()}:{name}{again}" if name else inside.as_posix()
            yield {"id": place, "text": text, "module": inside.parts[0].removesuffix(".py")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the JSON Lines file to write")
    out: Path = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(out.name + ".part")
    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        for document in documents(Path(sysconfig.get_path("stdlib"))):
            text = document["text"].encode("utf-8", "replace").decode()  # a few are about lone surrogates
            file.write(json.dumps(document | {"text": text}, ensure_ascii=False) + "\n")
            count += 1
    os.replace(temporary, out)
    print(f"{out}: {count:,} documents")


if __name__ == "__main__":
    main()
