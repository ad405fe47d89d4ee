"""What is taken from the queue: messages of two ids, and nothing else. Each is made anew from the ids that it names.

Whoever can write to Redis can put anything there. What Celery and kombu would do on a message's word (decompress it,
call back, wait until a time, end a process after a time, publish other tasks) is therefore never read from one; what an
id stands for comes from the store.
"""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from pipelines.parts.run_document import is_run_id
from tasks.keys import EXTRACT_QUEUE, EXTRACT_TASK

MAX_MESSAGE_BYTES = 16 * 1024
"""Ours have less than 2,000."""
MAX_BATCH = 2**53


class ForeignMessageError(ValueError):
    """An entry of the queue is no message of ours; the text says why and holds nothing of it."""


def message_id(run: str, batch: int) -> str:
    """The id of a batch's message: a sweep reads there which it is."""
    return f"{run}:{batch}"


def admitted(entry: bytes) -> dict[str, Any]:
    """A message as kombu takes it, of the two ids that an entry of the queue names. Raises ForeignMessageError."""
    if len(entry) > MAX_MESSAGE_BYTES:
        raise ForeignMessageError(f"it has {len(entry):,} bytes, at most {MAX_MESSAGE_BYTES:,} are read")
    try:
        message = json.loads(entry)
        headers, content_type, body = message["headers"], message["content-type"], message["body"]
        task, compression = headers["task"], headers.get("compression")
        encoding = message["properties"]["body_encoding"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ForeignMessageError("it is no message of Celery") from error
    if task != EXTRACT_TASK:
        raise ForeignMessageError("it is for another task")
    if compression is not None or content_type != "application/json" or encoding != "base64":
        raise ForeignMessageError("it is not plain JSON")
    try:
        (run, batch), options, _ = json.loads(base64.b64decode(body, validate=True))
    except (ValueError, TypeError, RecursionError) as error:
        raise ForeignMessageError("it does not name a run and a batch") from error
    if not isinstance(run, str) or not is_run_id(run) or options != {}:
        raise ForeignMessageError("it does not name a run")
    if not isinstance(batch, int) or isinstance(batch, bool) or not 0 <= batch < MAX_BATCH:
        raise ForeignMessageError("it does not name a batch")
    return _message(run, batch)


def _message(run: str, batch: int) -> dict[str, Any]:
    id_ = message_id(run, batch)
    return {
        "body": base64.b64encode(json.dumps([[run, batch], {}, {}]).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": EXTRACT_TASK,
            "id": id_,
            "root_id": id_,
            "parent_id": None,
            "group": None,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": repr((run, batch)),
            "kwargsrepr": "{}",
            "origin": "",
            "ignore_result": True,
        },
        "properties": {
            "correlation_id": id_,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": EXTRACT_QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }
