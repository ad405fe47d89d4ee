"""Make a corpus for `penstock run --disambiguate` of Winograd schemas as they are published.

    python examples/make_wsc.py wsc273.txt wsc273.jsonl
    python examples/make_wsc.py superglue_wsc_val.jsonl wsc.jsonl

WSC273 comes in blocks of four lines (a sentence with [MASK], what is masked, two candidates, the right one), that of
SuperGLUE as JSON Lines with two spans of words: its pronoun and the phrase that is asked about. Each line written is
``{"id", "text", "candidates", "answer"}``; ``answer`` is the right candidate, or whether the phrase is what the pronoun
stands for. SuperGLUE gives no candidates: they are the phrases that other lines ask about in the same text.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PRONOUN = "[it]"
"""Which pronoun it is does not matter: each candidate is put in its place."""


def wsc273(text: str) -> Iterator[dict[str, Any]]:
    """The documents of WSC273."""
    for number, block in enumerate(text.strip().split("\n\n")):
        sentence, masked, candidates, answer = block.strip().splitlines()
        yield {
            "id": f"wsc273-{number}",
            "text": " ".join(sentence.replace(masked.strip(), PRONOUN).split()),
            "candidates": [candidate.strip() for candidate in candidates.split(",")],
            "answer": answer.strip(),
        }


def superglue(text: str) -> Iterator[dict[str, Any]]:
    """The documents of SuperGLUE's WSC; without labels (its test set) the answer is null."""
    lines = [json.loads(line) for line in text.splitlines()]
    phrases: dict[str, dict[str, None]] = {}
    for line in lines:
        phrases.setdefault(_plain(line["text"]), {}).setdefault(line["target"]["span1_text"])
    for line in lines:
        target, words = line["target"], line["text"].split(" ")
        _mark(words, target["span1_index"], target["span1_text"], "_", "_")
        _mark(words, target["span2_index"], target["span2_text"], "[", "]")
        yield {
            "id": f"wsc-{line['idx']}",
            "text": " ".join(words),
            "candidates": list(phrases[_plain(line["text"])]),
            "answer": line.get("label"),
        }


def _mark(words: list[str], index: int, phrase: str, begin: str, end: str) -> None:
    """Put marks around a phrase; what its last word has more (a full stop) stays outside."""
    last = index + len(phrase.split()) - 1
    words[index] = begin + words[index]
    bare = words[last].rstrip(".,;:!?\"'")
    words[last] = bare + end + words[last][len(bare) :]


def _plain(text: str) -> str:
    return "".join(text.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="wsc273.txt, or a JSON Lines file of SuperGLUE")
    parser.add_argument("out", type=Path, help="the JSON Lines file to write")
    arguments = parser.parse_args()
    text = arguments.source.read_text(encoding="utf-8")
    documents = list((superglue if arguments.source.suffix == ".jsonl" else wsc273)(text))
    with arguments.out.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    print(f"{arguments.out}: {len(documents):,} documents")


if __name__ == "__main__":
    main()
