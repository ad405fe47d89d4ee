"""Throws mutated files at every reader, in a child process whose death, hang or growth is a finding.

    python tests/fuzz/fuzzer.py --inputs 100000 --seed 1 --out DIR

Each finding is kept in DIR as the input itself, its options and what was wrong; the command to repeat it is printed.
"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.mutations import Input, inputs

READER = (sys.executable, str(Path(__file__).with_name("reader.py")))
STUCK_SECONDS = 60.0
"""By the clock, for a child that waits instead of working; its own limit is in processor time."""

_MOST_FINDINGS = 20


@dataclass
class Report:
    """What came of the inputs: how many, the items that the readers made of them, and the findings in words."""

    inputs: int = 0
    items: int = 0
    refused: int = 0
    findings: list[str] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)


def fuzz(seed: int, count: int, out: Path, *, first: int = 0, reader: Sequence[str] = READER) -> Report:
    """Read ``count`` inputs from number ``first`` on; findings are written to ``out``."""
    report = Report()
    with tempfile.TemporaryDirectory() as folder, _Child(reader, Path(folder)) as child:
        for number, given in enumerate(inputs(seed, count, first), first):
            path = Path(folder, given.name)
            path.write_bytes(given.data)
            answer = child.read(path, given)
            path.unlink()
            report.inputs += 1
            report.items += answer["items"]
            report.refused += not answer["items"]
            report.formats[given.options["format"]] += 1
            if answer["fault"]:
                report.findings.append(_kept(out, seed, number, given, answer["fault"]))
                if len(report.findings) >= _MOST_FINDINGS:
                    break
    return report


def _kept(out: Path, seed: int, number: int, given: Input, fault: str) -> str:
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"seed-{seed}-{number}-{given.name}"
    path.write_bytes(given.data)
    path.with_name(path.name + ".txt").write_text(f"{json.dumps(given.options)}\n\n{fault}\n", encoding="utf-8")
    last = fault.strip().splitlines()[-1]
    again = f"tests/fuzz/fuzzer.py --seed {seed} --first {number} --inputs 1"
    return f"seed {seed}, input {number}, {path}: {last} (again: {again})"


class _Child:
    """The reading process, started anew after its death."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = list(command)
        self._log = folder / ".stderr"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, path: Path, given: Input) -> dict[str, object]:
        """The child's answer, or the fault that it could not answer."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"path": str(path), "options": given.options}) + "\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], STUCK_SECONDS)
            line = process.stdout.readline() if ready else ""
        except BrokenPipeError:
            ready, line = [process.stdout], ""
        if line:
            return json.loads(line)
        if not ready:
            fault = f"a hang: no answer in {STUCK_SECONDS:.0f} s"
            process.kill()
        else:
            ended = process.wait()
            fault = f"a crash: the process ended with {ended}" + (" (over 5 s of work)" if ended == -27 else "")
        said = self._log.read_text(errors="replace")[-3000:]
        self._end()
        return {"fault": f"{said}\n{fault}", "items": 0}

    def _start(self) -> subprocess.Popen[str]:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def main() -> int:
    """The command line; 1 where there are findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(".fuzz"))
    asked = parser.parse_args()
    print(f"fuzz: seed {asked.seed}, {asked.inputs} inputs from {asked.first} on", flush=True)
    report = fuzz(asked.seed, asked.inputs, asked.out, first=asked.first)
    formats = ", ".join(f"{name} {count}" for name, count in sorted(report.formats.items()))
    print(f"fuzz: {report.inputs} inputs ({formats}), {report.items} items, {len(report.findings)} findings")
    for finding in report.findings:
        print(finding)
    return 1 if report.findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
