"""A few shapes in SVG: what docs/pictures.py draws with.

The pictures have a light ground of their own, so that they can be read on a light page and on a dark one.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

CHARACTER = 7.9
"""The width of a letter of the code font at 13 px, and a little more: fonts differ."""
CELL = 24
INK, FAINT, BORDER, GROUND = "#1f2328", "#57606a", "#aab1b9", "#fdfcf9"
SPECIAL, BLUE, ORANGE, GREEN, YELLOW, WHITE = "#e4e7ec", "#cfe3fb", "#fde0bd", "#cdeed3", "#fbe88f", "#ffffff"
STYLE = (
    f"text{{font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:14px;fill:{INK}}}"
    ".code{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px}"
    f".faint{{font-size:13px;fill:{FAINT}}}.head{{font-weight:600}}"
)
Cell = tuple[str, str]
"""A text and the colour behind it."""


class Drawing:
    """A picture that grows shape by shape, and then is its SVG."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._shapes = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            f' role="img"><title>{escape(title)}</title><style>{STYLE}</style>',
            f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8" fill="{GROUND}" stroke="{BORDER}"/>',
        ]

    def write(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """Text whose base line is at ``y``; ``kind`` is one of the style's: code, faint, head."""
        shown = f' class="{kind}"' if kind else ""
        placed = f' text-anchor="{anchor}"' if anchor != "start" else ""
        self._shapes.append(f'<text x="{x:g}" y="{y:g}"{shown}{placed}>{escape(text)}</text>')

    def box(self, x: float, y: float, width: float, height: float = CELL, fill: str = WHITE) -> None:
        self._shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" fill="{fill}" stroke="{BORDER}"/>'
        )

    def cells(
        self, x: float, y: float, cells: Sequence[Cell], widths: Sequence[float] = ()
    ) -> list[tuple[float, float]]:
        """A row of cells, and where each of them begins and ends."""
        places = []
        for number, (text, fill) in enumerate(cells):
            width = widths[number] if widths else len(text) * CHARACTER + 10
            self.box(x, y, width, CELL, fill)
            self.write(x + width / 2, y + 16.5, text, "code", "middle")
            places.append((x, x + width))
            x += width + 2
        return places

    def line(self, x: float, y: float, to_x: float, to_y: float, *, head: bool = False) -> None:
        self._shapes.append(f'<path d="M{x:g} {y:g}L{to_x:g} {to_y:g}" stroke="{FAINT}" fill="none"/>')
        if head:  # an arrow's, that points down or to the right
            wings = "l-4-7h8z" if to_x == x else "l-7-4v8z"
            self._shapes.append(f'<path d="M{to_x:g} {to_y:g}{wings}" fill="{FAINT}"/>')

    def svg(self) -> str:
        return "\n".join([*self._shapes, "</svg>\n"])
