"""Which batches of a run have a message: in the queue, or delivered and not acknowledged.

Others may write there, too, whatever they like: the server looks for the ids, and only numbers of batches leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import redis

from tasks.admission import MAX_MESSAGE_BYTES
from tasks.client import redis_faults
from tasks.keys import QUEUE_LIST, UNACKED_HASH

MOST_ENTRIES = 20_000
"""So many entries of each are read at most; the windows of a large fleet have some thousand."""
ENTRIES_AT_ONCE = 500

# One piece of a list (from an index) or a hash (from a cursor): where to go on, then the batches. In the messages of
# Celery, as JSON, the first "id" is the task's, which is RUN:BATCH. A long entry is not looked at.
_PIECE = """
local answer, prefix = {}, ARGV[1]
local function look(entry)
  local id = #entry <= tonumber(ARGV[4]) and string.match(entry, '"id"%s*:%s*"([^"]*)"')
  if id and string.sub(id, 1, #prefix) == prefix then
    local batch = string.sub(id, #prefix + 1)
    if #batch <= 18 and string.match(batch, '^%d+$') then answer[#answer + 1] = batch end
  end
end
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
  local found = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
  for i = 2, #found[2], 2 do look(found[2][i]) end
  table.insert(answer, 1, found[1])
  return answer
end
local index = tonumber(ARGV[2])
for i = index, index + tonumber(ARGV[3]) - 1 do
  local entry = redis.call('LINDEX', KEYS[1], i)
  if not entry then
    table.insert(answer, 1, '0')
    return answer
  end
  look(entry)
end
table.insert(answer, 1, tostring(index + tonumber(ARGV[3])))
return answer
"""


@dataclass(frozen=True, slots=True)
class Queued:
    """Batches in the queue, and delivered ones; ``complete`` is False where there is more than was read."""

    waiting: frozenset[int]
    hidden: frozenset[int]
    complete: bool


class Queue:
    """Looks for the messages of one run. Raises InfrastructureError when Redis fails."""

    def __init__(self, client: redis.Redis, run: str) -> None:
        self._run = run
        self._script = client.register_script(_PIECE)

    def look(self) -> Queued:
        """What there is now. Memory and time are bounded by :data:`MOST_ENTRIES`, whoever has filled the queue."""
        waiting, all_waiting = self._read(QUEUE_LIST)
        hidden, all_hidden = self._read(UNACKED_HASH)
        return Queued(waiting, hidden, all_waiting and all_hidden)

    def _read(self, key: str) -> tuple[frozenset[int], bool]:
        batches: set[int] = set()
        place = b"0"
        for _ in range(0, MOST_ENTRIES, ENTRIES_AT_ONCE):
            with redis_faults():
                answer = self._script(keys=[key], args=[f"{self._run}:", place, ENTRIES_AT_ONCE, MAX_MESSAGE_BYTES])
            place, *found = cast(list[bytes], answer)
            batches.update(int(batch) for batch in found)
            if place == b"0":
                return frozenset(batches), True
        return frozenset(batches), False
