"""A text with one ``<mask>`` in it: what is around the mask, and the text with the mask filled.

As fairseq does it (https://github.com/facebookresearch/fairseq at 3d262bb2, ``hub_interface.py``, fill_mask): blanks
before the mask, and at the end, are not read; a token that stands for a word brings its own.
"""

from __future__ import annotations

from pipelines.errors import DocumentError

MASK = "<mask>"


def around_mask(text: str) -> tuple[str, str]:
    """What is read before and behind the mask. Raises DocumentError where there is no mask or more than one."""
    before, *others = text.split(MASK)
    if len(others) != 1:
        raise DocumentError(
            f"The text has {MASK} {len(others)} times, wanted once.",
            f"Write it where the word is to be: He is a {MASK}.",
        )
    return before.rstrip(), others[0].rstrip()


def fill(text: str, token: str) -> str:
    """The text with a token in the place of the mask and of a blank before it: the token has its own, if it has one."""
    return text.replace(f" {MASK}" if f" {MASK}" in text else MASK, token)
