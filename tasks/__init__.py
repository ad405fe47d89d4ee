"""What crosses Redis: message names, keys, the ledger of open batches, batch bodies, and the two ends of the queue."""
