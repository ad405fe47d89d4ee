"""The runs this user has opened on this machine, so that `status` can name them: one small file per run.

Each holds the folder and where the run was last fed: the address of a Redis as it may be shown, never its password.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from worker.address import describe
from worker.settings import state_folder

_KEPT = 200


def remember(run: str, folder: Path, broker_url: str | None = None) -> None:
    """Note a run. A home that cannot be written to is no reason to fail."""
    with contextlib.suppress(OSError):
        place = state_folder() / "runs"
        place.mkdir(parents=True, exist_ok=True)
        value = {"run": run, "out": str(folder), "broker": describe(broker_url) if broker_url else ""}
        (place / f"{run}.json").write_text(json.dumps(value))
        for old in sorted(place.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink(missing_ok=True)


def remembered() -> dict[str, Path]:
    """Run → folder, the oldest first; runs whose folder is gone are left out."""
    found: dict[str, Path] = {}
    with contextlib.suppress(OSError):
        for path in sorted((state_folder() / "runs").glob("*.json"), key=lambda path: path.stat().st_mtime):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                value = json.loads(path.read_text())
                folder = Path(value["out"])
                if folder.is_dir():
                    found[str(value["run"])] = folder
    return found


def last_broker(run: str) -> str:
    """The Redis whose workers were last at a run, ``***`` for its password; empty where it was none but its own."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((state_folder() / "runs" / f"{run}.json").read_text())["broker"])
    return ""
