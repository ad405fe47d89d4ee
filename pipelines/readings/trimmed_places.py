"""Which characters of a text its tokens stand on, without the blanks that belong to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
_BLANK = ord(" ")


def is_blank(text: str) -> npt.NDArray[np.bool_]:
    """Which characters are blanks; not tabs or line ends. *Shape:* ``[characters]``."""
    blank: npt.NDArray[np.bool_] = np.frombuffer(text.encode("utf-32-le"), np.uint32) == _BLANK
    return blank


def trimmed(places: Places, blank: npt.NDArray[np.bool_]) -> Places:
    """Begin and end of tokens without the blanks at both ends; a token of blanks alone is empty, at its end.

    As RoBERTa's post-processor does with ``trim_offsets`` (https://github.com/huggingface/tokenizers,
    ``pre_tokenizers/byte_level.rs``). *Shape:* places and result ``[tokens, 2]``, blank ``[characters]``.
    """
    characters = len(blank)
    numbers = np.arange(characters + 1)
    next_solid = np.where(np.append(blank, False), characters, numbers)
    next_solid = np.minimum.accumulate(next_solid[::-1])[::-1]
    last_solid = np.maximum.accumulate(np.where(np.append(False, blank), 0, numbers))
    begins = np.minimum(next_solid[places[:, 0]], places[:, 1])
    return np.stack((begins, np.maximum(last_solid[places[:, 1]], begins)), axis=1)
