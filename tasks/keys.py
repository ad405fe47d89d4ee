"""Every Redis key of penstock: its type, what it holds and how long it lives. All of it can be rebuilt from the store.

=================================  ======  ==========================================================================
key                                type    holds; lifetime
=================================  ======  ==========================================================================
``penstock:runs``                  hash    run → folder, of the runs that workers may have to look after; until sealed
``penstock:run:RUN:state``         hash    ``state``, progress counters, ``barren`` (deaths in a row, each at a first
                                           micro-batch) since batch count ``barren_since``; 7 days after the last change
``penstock:run:RUN:open``          zset    batch → time of its last publication: the batches in flight (the window)
``penstock:run:RUN:sizes``         hash    batch → bytes of its body, for the batches in flight
``penstock:run:RUN:leases``        hash    batch → ``expiry|owner|delivery``; until the batch is closed or released
``penstock:run:RUN:loading``       hash    owner → since when it loads the run's model; until it has, or has died
``penstock:run:RUN:attempts``      hash    batch → attempts so far; until the batch is closed
``penstock:run:RUN:suspicions``    hash    batch → deaths at it (the suspects are in its folder); until closed
``penstock:run:RUN:counted``       string  a bit per batch that the progress counters count; until the run is opened
``penstock:run:RUN:deaths``        zset    ``batch|owner`` → time of the last death of a worker's child; until sealed
``penstock:run:RUN:due``           set     batches that want to be published again at once (released, or body missing)
``penstock:run:RUN:dead``          hash    batch → reason: dead letters; until the run is opened again
``penstock:run:RUN:refusals``      hash    owner → why that worker cannot do this run
``penstock:run:RUN:body:BATCH``    string  a batch's serialised documents; dropped when the batch is closed
``penstock:run:RUN:leader``        string  who feeds and reconciles the run; expires with its lease
``penstock:workers``               hash    owner → host, slot, device, last report of a live worker process
``penstock:penstock.extract``      list    Celery's queue (prefixed by ``global_keyprefix``), with ``unacked*``
=================================  ======  ==========================================================================
"""

from __future__ import annotations

PREFIX = "penstock:"
"""Prefix of every key, kombu's own included."""

EXTRACT_QUEUE = "penstock.extract"
EXTRACT_TASK = "penstock.extract_batch"

QUEUE_LIST = f"{PREFIX}{EXTRACT_QUEUE}"
UNACKED_HASH = f"{PREFIX}unacked"
RUNS = f"{PREFIX}runs"
WORKERS = f"{PREFIX}workers"
WORKER_SILENCE_S = 60
"""A worker process that has not reported for so long is taken for dead."""
STATE_LIFETIME_S = 7 * 24 * 3600
ENDED_LEASES_S = 3600
"""Leases of a run that has ended may stay so long: their holders have yet to notice."""


def run_key(run: str, part: str) -> str:
    """The key of one part of a run's ledger: state, open, sizes, leases, attempts, due, dead or leader."""
    return f"{PREFIX}run:{run}:{part}"


def body_key(run: str, batch: int) -> str:
    """The key of a batch's body."""
    return f"{PREFIX}run:{run}:body:{batch}"
