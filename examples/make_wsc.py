"""Make a corpus for `penstock run --disambiguate` of Winograd schemas as they are published.

    python examples/make_wsc.py wsc273.txt wsc273.jsonl
    python examples/make_wsc.py superglue_wsc_val.jsonl wsc.jsonl

WSC273 comes in blocks of four lines (a sentence with [MASK], what is masked, two candidates, the right one), that of
SuperGLUE as JSON Lines with two spans of words: its pronoun and the phrase that is asked about. Each line written is
``{"id", "text", "candidates", "answer"}``; ``answer`` is the right candidate, or whether the phrase is what the pronoun
stands for.

SuperGLUE gives no candidates. They are the phrases that other lines ask about and that stand in the text; where this
leaves no rival to the line's own phrase, what looks like a noun phrase: a name, or a few words behind an article or a
possessive. A line whose pronoun or phrase is not where it says (a few are not) keeps its text without marks, so that a
run sets it aside with the reason.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.readings.pronoun_sentences import cleaned_query, rivals

PRONOUN = "[it]"
"""Which pronoun it is does not matter: each candidate is put in its place."""
WORD = re.compile(r"(?:Mr|Mrs|Ms|Dr|St)\.|[\w’'-]*\w|[^\w\s]")
PLAIN_WORD = re.compile(r"\w+")
OPENING = {"a", "an", "the", "some", "any", "another", "his", "her", "its", "their", "my", "our", "your"}
CLOSING = OPENING | set(
    PLAIN_WORD.findall("""
    about above across after against along among around as at before behind below beneath beside between beyond but
    by down during except for from in inside into like near of off on onto out outside over past since through to toward
    towards under until up upon with within without and or nor so yet if because although though while when where which
    who whom whose what that this these those than then i you he she it we they me him us them there is are was were be
    been being am has have had do does did will would can could shall should may might must not never also too very just
    only still all both each every no
    """)
)
"""Words that no noun phrase goes across."""
LONGEST_PHRASE = 3


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
    asked: dict[str, set[str]] = {}
    for line in lines:
        asked.setdefault(" ".join(line["target"]["span1_text"].split()), set()).add(_plain(line["text"]))
    for line in lines:
        plain, query = _plain(line["text"]), cleaned_query(line["target"]["span1_text"])
        candidates = [phrase for phrase, texts in asked.items() if plain in texts or _plain(phrase) in plain]
        if not rivals(candidates, query):
            candidates = list(dict.fromkeys([*candidates, *phrases(line["text"])]))
        yield {
            "id": f"wsc-{line['idx']}",
            "text": _marked(line["text"], line["target"]),
            "candidates": candidates,
            "answer": line.get("label"),
        }


def phrases(text: str) -> list[str]:
    """What looks like a noun phrase of English: names within a sentence, and up to three words behind a determiner.

    They end before a word that none goes across, and before what looks like a verb's form (``-ing``, ``-ed``).
    """
    words = WORD.findall(text)
    found: dict[str, None] = {}
    place = 0
    while place < len(words):
        begin, opened = place, words[place].lower() in OPENING
        name = begin > 0 and words[begin - 1] not in '.!?"“' and _is_name(words[begin])
        place += 1
        if opened or name:
            while place < len(words) and (_goes_on(words, begin, place) if opened else _is_name(words[place])):
                place += 1
        if name or (opened and 1 < place - begin <= 1 + LONGEST_PHRASE):
            found.setdefault(" ".join(words[begin:place]).removesuffix("'s"))
    return list(found)


def _is_name(word: str) -> bool:
    return word[0].isupper() and word.lower() not in CLOSING


def _goes_on(words: Sequence[str], begin: int, place: int) -> bool:
    word = words[place].lower()
    verb = place > begin + 1 and word.endswith(("ing", "ed"))
    return word[0].isalnum() and word not in CLOSING and not verb


def _marked(text: str, target: dict[str, Any]) -> str:
    """The text with its phrase between underscores and its pronoun in brackets, or as it is where one is not there."""
    words = text.split(" ")
    there = _mark(words, target["span1_index"], target["span1_text"].split(), "_", "_") and _mark(
        words, target["span2_index"], target["span2_text"].split(), "[", "]"
    )
    return " ".join(words) if there else text


def _mark(words: list[str], index: int, phrase: Sequence[str], begin: str, end: str) -> bool:
    """Put marks around a phrase, at its place or a word later (as fairseq looks for it); whether it is there.

    What its last word has more in the text (a full stop, 's) stays outside.
    """
    bare = phrase[-1].rstrip(".,:;!?\"'")
    wanted = re.compile(re.escape(" ".join([*phrase[:-1], bare])) + r"(?!\w)", re.IGNORECASE)
    for first in (index, index + 1):
        last = first + len(phrase) - 1
        if wanted.match(" ".join(words[first : last + 1])):
            words[last] = words[last][: len(bare)] + end + words[last][len(bare) :]
            words[first] = begin + words[first]
            return True
    return False


def _plain(text: str) -> str:
    """The words of a text between blanks, without case and signs: those of a phrase that stands in it are in there."""
    return f" {' '.join(PLAIN_WORD.findall(text.lower()))} "


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
