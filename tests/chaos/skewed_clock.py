"""A clock that jumps by SKEW_S seconds after SKEW_AFTER_S: named by PENSTOCK_INCLUDE, for a worker and its child."""

from __future__ import annotations

import os
import time

from kombu.transport import redis as kombu_redis

_true = time.time
_since = time.monotonic()
SKEW_S = float(os.environ["SKEW_S"])
SKEW_AFTER_S = float(os.environ["SKEW_AFTER_S"])


def skewed() -> float:
    return _true() + (SKEW_S if time.monotonic() - _since >= SKEW_AFTER_S else 0.0)


time.time = skewed
kombu_redis.time = skewed  # it has taken hold of the true one already
