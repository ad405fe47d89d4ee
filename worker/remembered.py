"""The runs this user has opened on this machine, so that `status` can name them: one small file per run."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from worker.settings import state_folder

_KEPT = 200


def remember(run: str, folder: Path) -> None:
    """Note a run. A home that cannot be written to is no reason to fail."""
    with contextlib.suppress(OSError):
        place = state_folder() / "runs"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{run}.json").write_text(json.dumps({"run": run, "out": str(folder)}))
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
