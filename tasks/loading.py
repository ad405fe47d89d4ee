"""Who loads the model of a run: a worker takes a lease only when it can compute, and loading may take minutes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast

import redis

from pipelines.errors import InfrastructureError
from tasks.client import redis_faults
from tasks.keys import run_key

# In one step: whoever ends a run sees who loads its model, and nobody begins to after that.
_BEGIN = """
local state = redis.call('HGET', KEYS[1], 'state')
if state and state ~= 'running' then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], redis.call('TIME')[1])
return 1
"""


class NotWantedError(Exception):
    """The run is over, its model need not be loaded."""


@contextlib.contextmanager
def loading(client: redis.Redis, run: str, owner: str) -> Iterator[None]:
    """Say that an owner loads the model of a run while this lasts.

    Raises NotWantedError where the run is not running (any more), InfrastructureError where Redis cannot be told.
    """
    with redis_faults():
        begin = client.register_script(_BEGIN)
        wanted = begin(keys=[run_key(run, "state"), run_key(run, "loading")], args=[owner])
    if not wanted:
        raise NotWantedError(run)
    try:
        yield
    finally:
        # Where it cannot be told: whoever looks after this process takes its word back when it ends.
        with contextlib.suppress(InfrastructureError), redis_faults():
            client.hdel(run_key(run, "loading"), owner)


def loaders(client: redis.Redis, run: str) -> set[str]:
    """The owners that said so. One that died may be among them."""
    with redis_faults():
        owners = cast(list[bytes], client.hkeys(run_key(run, "loading")))
    return {owner.decode(errors="replace") for owner in owners}
