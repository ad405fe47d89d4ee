"""The readers under mutated files, 2,000 at a time (``make fuzz`` throws 100,000), and the fuzzer under bad readers."""

import sys

import pytest
from fuzz.fuzzer import fuzz
from fuzz.mutations import inputs

SEED = 20

# Keeps no promise: dies, is stopped by the limit on its work, and finds fault, in turn.
BAD_READER = """
import json, os, signal, sys
for number, line in enumerate(sys.stdin):
    size = os.path.getsize(json.loads(line)["path"])
    if size % 3 == 0: os.kill(os.getpid(), signal.SIGSEGV)
    if size % 3 == 1: os.kill(os.getpid(), signal.SIGPROF)
    print(json.dumps({"fault": "no place", "items": 1}), flush=True)
"""


def test_no_mutated_file_crashes_stops_or_swells_a_reader(tmp_path):
    report = fuzz(SEED, 2000, tmp_path / "findings")
    assert report.inputs == 2000
    assert report.findings == []
    assert report.items > 20_000  # most inputs are read, not merely refused
    assert report.refused < 1000


def test_whatever_a_reader_does_is_found_and_kept(tmp_path):
    report = fuzz(1, 12, tmp_path, reader=[sys.executable, "-c", BAD_READER])
    assert len(report.findings) == 12
    said = "\n".join(report.findings)
    assert "ended with -11" in said
    assert "ended with -27 (over 5 s of work)" in said
    assert "no place" in said
    assert "seed 1, input 0, " in said
    for number, one in enumerate(inputs(1, 12)):
        kept = tmp_path / f"seed-1-{number}-{one.name}"
        assert str(kept) in report.findings[number]
        assert kept.read_bytes() == one.data


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seed_makes_the_same_inputs_every_time(seed):
    assert list(inputs(seed, 30)) == list(inputs(seed, 30))
    assert list(inputs(seed, 5, 25)) == list(inputs(seed, 30))[25:]
    assert list(inputs(seed, 30)) != list(inputs(seed + 1, 30))
