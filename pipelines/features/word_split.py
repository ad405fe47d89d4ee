"""A text's words by Unicode's properties alone: any script, no model, nothing to install.

They are about what spaCy makes of English (``do`` ``n't``, ``it`` ``'s``, punctuation by itself), and what Unicode's
word boundaries are elsewhere (https://unicode.org/reports/tr29/): an ideograph is a word, and so is an emoji sequence;
of scripts that have neither blanks nor ideographs (Thai), a whole run is. Between two words there is nothing but
blanks, so that words and blanks together are the text again.
"""

from __future__ import annotations

import re
import unicodedata

_IDEOGRAPHS = "\u3041-\u3096\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # and hiragana
_LETTER = rf"[^\W{_IDEOGRAPHS}]"
_NOT = r"[nN]['\u2019][tT](?!\w)"
_WORDS = re.compile(
    rf"""
      (?:[^\W\d_]\.){{2,}}                                                       # U.S.
    | (?<=\w)['\u2019](?:[sSmMdD]|[rR][eE]|[vV][eE]|[lL][lL])(?!\w)               # what ends it's
    | {_NOT}                                                                    # what ends don't
    | {_LETTER}+?(?={_NOT})                                                     # and what it begins with
    | {_LETTER}+(?:(?<=\d)[.,](?=\d){_LETTER}+)*                                # a word, 1,000.5
    | \w                                                                        # an ideograph
    | [\U0001f1e6-\U0001f1ff]{{2}}                                               # a flag
    | ([^\w\s])\1*                                                              # a sign, or one several times: ...
    """,
    re.VERBOSE,
)
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
_ZERO_WIDTH_JOINER = "\u200d"
_EXTENDERS = re.compile("[\u00ad\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
"""What belongs to the character before it beside combining marks: hyphens and joiners that are not seen, the colours
of an emoji's skin, the tags of a flag."""


def split_words(text: str) -> list[tuple[int, int]]:
    """Where a text's words begin and end, in characters, in order; every character but a blank is in one of them."""
    found = [match.span() for match in _WORDS.finditer(text)]
    if text.isascii():
        return found
    words: list[tuple[int, int]] = []
    for begin, end in found:
        if words and words[-1][1] == begin and _goes_on(text, words[-1][0], begin):
            words[-1] = (words[-1][0], end)
        else:
            words.append((begin, end))
    return words


def _goes_on(text: str, begin: int, place: int) -> bool:
    """Whether the word that began at ``begin`` goes on at ``place``."""
    if _extends(text[place]):
        return True
    before = text[place - 1]
    if not _extends(before):
        return False
    return before == _ZERO_WIDTH_JOINER or (_is_letter(text[begin]) and _is_letter(text[place]))


def _extends(letter: str) -> bool:
    return unicodedata.category(letter).startswith("M") or _EXTENDERS.match(letter) is not None


def _is_letter(letter: str) -> bool:
    return letter.isalnum() and not _IDEOGRAPH.match(letter)
