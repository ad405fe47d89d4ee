"""Is this worker's surrounding alive? For a container's health check: ``python -m worker.health`` exits 0, or 3."""

from __future__ import annotations

import sys

from pipelines.errors import PenstockError, SurroundingsError
from worker.broker import RedisInfo, check
from worker.settings import load


def healthy(timeout_s: float = 5.0) -> RedisInfo:
    """Ask the broker of the settings. Raises SurroundingsError where it does not answer or none is set."""
    settings = load()
    if settings.broker_url is None:
        raise SurroundingsError("No Redis is set.", "Set PENSTOCK_BROKER_URL.")
    return check(settings.broker_url, timeout_s)


def main() -> int:
    """One line on stdout or stderr; the exit status is what counts."""
    try:
        found = healthy()
    except PenstockError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"Redis {found.version} answers\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
