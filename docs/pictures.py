"""Draw the pictures of the pages on features, docs/images/*.svg: `python docs/pictures.py`."""

from __future__ import annotations

from pathlib import Path

from drawing import BLUE, GREEN, ORANGE, SPECIAL, WHITE, YELLOW, Cell, Drawing

from pipelines.features.once_each import once_each
from pipelines.readings.texts import windows

IMAGES = Path(__file__).with_name("images")
BEGIN, END = ("<s>", SPECIAL), ("</s>", SPECIAL)


def forward() -> str:
    """From a document to its columns."""
    drawing = Drawing(780, 432, "A document becomes tokens, tokens pass the layers, features read the layers")
    tokens = [BEGIN, *((word, BLUE) for word in ("The", "mill", "is", "old", ".")), END]
    left, widths = 150, [44, 48, 52, 40, 48, 36, 52]
    drawing.write(20, 37, "document", "head")
    drawing.box(left, 20, 334)
    drawing.write(left + 167, 37, "The mill is old.", "code", "middle")
    drawing.write(500, 37, "its text column, as it stands", "faint")
    drawing.write(20, 85, "tokens", "head")
    places = drawing.cells(left, 68, tokens, widths)
    drawing.write(500, 85, "n_tokens = 7: special tokens count", "faint")
    rows = [("layer 0", "the embeddings of the tokens"), ("layer 1", ""), ("…", ""), ("layer 12", "the last: -1")]
    for number, (name, said) in enumerate(rows):
        y = 122 + 38 * number
        drawing.write(20, y + 17, name, "head" if name != "…" else "")
        if name == "…":
            drawing.write(left + 167, y + 17, "…", "", "middle")
        else:
            drawing.cells(left, y, [("", tokens[place][1]) for place in range(7)], widths)
        drawing.write(500, y + 17, said, "faint")
        drawing.line(left + 167, y - 30 if not number else y - 14, left + 167, y - 1, head=True)
    drawing.write(500, 177, "any layer or mix can be read: mean@1,", "faint")
    drawing.write(500, 195, "mean@-4..-1, mean@all, --tokens -2", "faint")
    boxes = [
        (20, 236, "<s> alone", ("--embed cls", "--classify --zero-shot", "--choose"), "a vector, or probabilities"),
        (272, 236, "all tokens, pooled", ("--embed mean", "--embed max", "--embed mean@-2"), "one vector per document"),
        (
            524,
            236,
            "each token",
            ("--tokens --words", "--spans --answer", "--fill-mask --disambiguate"),
            "lists, or the best",
        ),
    ]
    starts = [(places[0][0] + 22, 60.0), (left + 167, 390.0), (places[6][1] - 26, 640.0)]
    for (x, width, name, flags, said), (start, to) in zip(boxes, starts, strict=True):
        drawing.line(start, 260, to if to != 390 else start, 291)
        drawing.box(x, 291, width, 112)
        drawing.write(x + 12, 311, name, "head")
        for number, flag in enumerate(flags):
            drawing.write(x + 12, 332 + 19 * number, flag, "code")
        drawing.write(x + 12, 392, said, "faint")
    drawing.write(20, 424, "one forward pass for all features that read the same text with the same encoder", "faint")
    return drawing.svg()


def words() -> str:
    """Tokens aligned to words."""
    drawing = Drawing(
        780, 232, "Each token gives its vector to the words that have one of its characters, in equal parts"
    )
    names = ["<s>", "I", "don", "'t", "know", "�", "�", ".", "</s>"]
    owners = [[0], [1], [2, 3], [3], [4], [5], [5], [6], [7]]
    found = ["<s>", "I", "do", "n't", "know", "😀", ".", "</s>"]
    special = (0, len(names) - 1)
    drawing.write(20, 51, "tokens", "head")
    places = drawing.cells(
        110, 34, [(name, SPECIAL if number in special else BLUE) for number, name in enumerate(names)], [62] * 9
    )
    drawing.write(20, 151, "words", "head")
    fills = [SPECIAL, *[GREEN] * 6, SPECIAL]
    lower = drawing.cells(110, 134, list(zip(found, fills, strict=True)), [70] * 8)
    bounds = ["0–0", "0–1", "2–4", "4–7", "8–12", "13–14", "14–15", "15–15"]
    drawing.write(20, 178, "begin–end", "faint")
    for (begin, end), bound in zip(lower, bounds, strict=True):
        drawing.write((begin + end) / 2, 178, bound, "faint", "middle")
    for (begin, end), to in zip(places, owners, strict=True):
        for owner in to:
            x, below = (begin + end) / 2, sum(lower[owner]) / 2
            drawing.line(x, 59, below, 133)
            if len(to) > 1:
                drawing.write((x + below) / 2 + (12 if owner == to[-1] else -22), 100, "½", "code")
    drawing.write(20, 214, "n't = ½ · don + 't", "code")
    drawing.write(
        190, 214, "and the sum over all words is the sum over all tokens. The text: I don't know 😀.", "faint"
    )
    return drawing.svg()


def long() -> str:
    """The three policies for long documents."""
    total, room, stride, cell = 21, 8, 3, 19
    drawing = Drawing(780, 352, "A text of 21 tokens read with --max-tokens 10: cut, in windows, set aside")
    bounds = list(windows(total, room, stride))
    lengths = [end - begin + 2 for begin, end in bounds]
    taken = set(once_each(lengths, [begin for begin, _ in bounds]).tolist())

    def row(y: float, begin: int, end: int, first: int | None) -> None:
        x = 150 + cell * begin
        for number in range(end - begin + 2):
            is_special = number in (0, end - begin + 1)
            fill = SPECIAL if is_special else BLUE if first is None or first + number in taken else WHITE
            drawing.box(x + cell * number, y, cell - 2, 20, fill)

    drawing.write(20, 39, "document", "head")
    for number in range(total):
        drawing.box(150 + cell * (number + 1), 24, cell - 2, 20)
    drawing.write(650, 39, "21 tokens", "faint")
    drawing.write(20, 77, "truncate", "code")
    row(62, 0, room, None)
    drawing.write(352, 77, "the rest is not read: n_used 10 of n_tokens 23", "faint")
    first = 0
    for number, (begin, end) in enumerate(bounds):
        y = 106 + 30 * number
        row(y, begin, end, first)
        drawing.write(650, y + 15, f"v{'₁₂₃₄'[number]}, {lengths[number]} tokens", "faint")
        first += lengths[number]
    drawing.write(20, 121, "window", "code")
    drawing.write(20, 151, "--stride 3", "code")
    drawing.write(20, 181, "n_windows 4", "faint")
    said = [
        ("mean, cls, labels, values", "mean of the windows by their tokens: (10v₁ + 10v₂ + 10v₃ + 8v₄) / 38"),
        ("max", "the maximum over the windows"),
        ("tokens, words, spans", "each token once (blue), from the window in which it is farthest from a border"),
    ]
    for number, (what, how) in enumerate(said):
        drawing.write(40, 250 + 22 * number, what, "head")
        drawing.write(250, 250 + 22 * number, how, "faint")
    drawing.write(20, 332, "error", "code")
    drawing.write(150, 332, "goes to the quarantine as too_long, with its length", "faint")
    return drawing.svg()


def rows() -> str:
    """How questions to a model are laid out as rows of tokens."""
    text, other, mask = ("text", BLUE), ORANGE, ("<mask>", YELLOW)

    def pair(first: Cell, second: str) -> list[Cell]:
        return [BEGIN, first, END, END, (second, other), END]

    kinds: list[tuple[str, list[list[Cell]], list[str]]] = [
        ("--classify", [[BEGIN, text, END]], ["probabilities from <s>"]),
        ("--pair-column", [pair(text, "pair")], ["one text and another, read together"]),
        (
            "--zero-shot",
            [pair(text, "This example is sports."), pair(text, "This example is news.")],
            ["a row per label; softmax", "over the rows' entailment"],
        ),
        (
            "--choose",
            [pair(("question", BLUE), "choice 0"), pair(("question", BLUE), "choice 1")],
            ["a row per choice; softmax", "over the rows' scores"],
        ),
        (
            "--answer",
            [pair(("question", BLUE), "begin of the context"), pair(("question", BLUE), "rest of the context")],
            ["a row per window; the best", "stretch of all of them, or none"],
        ),
        ("--fill-mask", [[BEGIN, ("He is a", BLUE), mask, (".", BLUE), END]], ["the K best tokens there"]),
        (
            "--disambiguate",
            [
                [("because", BLUE), mask, mask, ("is too big.", BLUE), END],
                [("because", BLUE), mask, mask, mask, ("is too big.", BLUE), END],
            ],
            ["a row per candidate, no <s>; mean log", "probability of the masked tokens"],
        ),
    ]
    drawing = Drawing(860, 416, "What the model reads for each kind of question, and what is read off")
    y = 16
    for flag, laid_out, said in kinds:
        drawing.write(16, y + 17, flag, "code")
        for number, cells in enumerate(laid_out):
            drawing.cells(140, y + 28 * number, cells)
        for number, line in enumerate(said):
            drawing.write(576, y + 17 + 28 * number, line, "faint")
        y += 28 * len(laid_out) + 14
    return drawing.svg()


def spans() -> str:
    """Labels of tokens put together to spans."""
    drawing = Drawing(780, 262, "Labels of tokens are put together to spans, one way or another")
    names = ["Ad", "a", "Lo", "vel", "ace", "lives", "in", "London", "."]
    labels = ["B-PER", "I-PER", "I-PER", "O", "I-PER", "O", "O", "B-LOC", "O"]
    scores = [".90", ".80", ".90", ".50", ".70", ".99", ".99", ".90", ".95"]
    widths = [58, 58, 58, 58, 58, 66, 58, 80, 58]
    fills = [{"PER": BLUE, "LOC": GREEN}.get(label[2:], WHITE) for label in labels]
    drawing.write(20, 37, "tokens", "head")
    places = drawing.cells(140, 20, list(zip(names, fills, strict=True)), widths)
    for (begin, end), label, score in zip(places, labels, scores, strict=True):
        drawing.write((begin + end) / 2, 62, label, "code", "middle")
        drawing.write((begin + end) / 2, 80, score, "faint", "middle")
    drawing.write(20, 62, "best label", "faint")
    drawing.write(20, 80, "probability", "faint")
    ways = [
        ("none", "a token each", [(place, place, labels[place]) for place in (0, 1, 2, 4, 7)]),
        ("simple", "neighbours", [(0, 2, "PER .87"), (4, 4, "PER .70"), (7, 7, "LOC .90")]),
        ("first", "words first", [(0, 4, "PER .90"), (7, 8, "LOC .90")]),
    ]
    for number, (name, said, found) in enumerate(ways):
        y = 104 + 42 * number
        drawing.write(20, y + 11, name, "code")
        drawing.write(20, y + 28, said, "faint")
        for first, last, label in found:
            begin, end = places[first][0], places[last][1]
            drawing.box(begin, y, end - begin, 26, GREEN if "LOC" in label else BLUE)
            drawing.write((begin + end) / 2, y + 18, label, "code", "middle")
    drawing.write(
        20,
        248,
        "simple breaks at a token that was judged wrong; first takes what has no blank before it along: the full stop",
        "faint",
    )
    return drawing.svg()


PICTURES = {"forward": forward, "rows": rows, "words": words, "spans": spans, "long": long}


def main() -> None:
    for name, draw in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
