"""A clock that is wrong by SKEW_S seconds: named by PENSTOCK_INCLUDE, so a worker's parent and child both have it."""

from __future__ import annotations

import os
import time

from kombu.transport import redis as kombu_redis

_true = time.time
SKEW_S = float(os.environ["SKEW_S"])


def skewed() -> float:
    return _true() + SKEW_S


time.time = skewed
kombu_redis.time = skewed  # it has taken hold of the true one already
