"""What a command answers, as a black box sees it: exit code, stdout, stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

SUMMARY_KEYS = {
    "run", "out", "state", "documents", "rows", "quarantined", "dead_letter_documents", "duplicate_ids", "blank_lines",
    "tokens", "tokens_used", "truncated", "parts", "bytes", "seconds", "seconds_total", "documents_per_second",
    "tokens_per_second", "redis_peak_bytes", "workers",
}  # fmt: skip
"""What `run --json` promises."""
WORKER_KEYS = {"host", "slot", "device", "documents", "tokens", "seconds", "peak_rss_bytes"}


class Answer(NamedTuple):
    """An ended command."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> dict[str, Any]:
        """The one JSON object that stdout is."""
        (line,) = self.out.splitlines()
        value = json.loads(line)
        assert isinstance(value, dict)
        return value

    @property
    def refusal(self) -> str:
        """The one line of a command that was refused: nothing on stdout, no traceback, a sentence on stderr."""
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("penstock: ")
        return line.removeprefix("penstock: ")


def call(folder: Path, *arguments: object, stdin: bytes = b"", **environment: str) -> Answer:
    """Run the command line in a process of its own, in a folder."""
    ended = subprocess.run(
        [sys.executable, "-m", "worker", *map(str, arguments)],
        cwd=folder,
        env=os.environ | environment,
        input=stdin,
        capture_output=True,
        timeout=240,
        check=False,
    )
    return Answer(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def write_jsonl(path: Path, documents: list[dict[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
    return path
