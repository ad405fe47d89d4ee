"""Slots: what --devices means, how cores are counted and shared, and what a wrong device says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import SurroundingsError, UsageError
from pipelines.spec import Dtype
from worker import cores, gpu
from worker.settings import load

LISTING = (
    "0, GPU-aaaa1111-0000, NVIDIA H200, 143771\n"
    "1, GPU-aaaa2222-0000, NVIDIA H200, 143771\n"
    "3, GPU-bbbb0000-0000, NVIDIA A100-SXM4, 81920\n"
)


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def three_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose nvidia-smi (a real program on PATH) lists three GPUs."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'LIST'\n{LISTING}LIST\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.fixture
def no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed' ; exit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_auto_is_one_slot_on_all_cores_without_a_gpu(no_gpu: None, eight_cores: None) -> None:
    (slot,) = gpu.slots("auto")
    assert (slot.name, slot.device, slot.threads, slot.is_gpu) == ("cpu:0", "cpu", 8, False)
    assert slot.environment["CUDA_VISIBLE_DEVICES"] == ""
    assert slot.environment["OMP_NUM_THREADS"] == slot.environment["RAYON_NUM_THREADS"] == "8"
    assert slot.environment["TOKENIZERS_PARALLELISM"] == "true"


def test_auto_is_every_gpu_pinned_by_uuid(three_gpus: None, eight_cores: None) -> None:
    slots = gpu.slots("auto")
    assert [slot.name for slot in slots] == ["gpu:0", "gpu:1", "gpu:3"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == [slot.device for slot in slots]
    assert [slot.threads for slot in slots] == [3, 3, 2]


def test_cpu_slots_share_the_cores(eight_cores: None) -> None:
    assert [slot.threads for slot in gpu.slots("cpu:3")] == [3, 3, 2]
    assert [slot.threads for slot in gpu.slots("cpu:1")] == [8]


def test_more_cpu_slots_than_cores_are_said_to_be_too_many(eight_cores: None, caplog: pytest.LogCaptureFixture) -> None:
    assert [slot.threads for slot in gpu.slots("cpu:9")] == [1] * 9
    assert "8 core(s)" in caplog.text


def test_a_wish_for_fewer_threads_is_kept(eight_cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert [slot.threads for slot in gpu.slots("cpu:2")] == [2, 2]


@pytest.mark.parametrize("wish", ["3,0", "GPU-bbbb, GPU-aaaa1111", "GPU-bbbb0000-0000,0"])
def test_gpus_are_chosen_by_index_and_by_uuid(three_gpus: None, wish: str) -> None:
    assert [slot.name for slot in gpu.slots(wish)] == ["gpu:3", "gpu:0"]


def test_the_scheduler_s_choice_is_kept(three_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-aaaa1111")
    assert [slot.name for slot in gpu.slots("auto")] == ["gpu:3", "gpu:0"]
    with pytest.raises(SurroundingsError, match="GPU 1 is none this process may see"):
        gpu.slots("1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [slot.name for slot in gpu.slots("auto")] == ["cpu:0"]


def test_a_slice_of_a_gpu_is_taken_by_its_uuid(three_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234,MIG-5678")
    assert [(slot.name, slot.device) for slot in gpu.slots("auto")] == [("gpu:0", "MIG-1234"), ("gpu:1", "MIG-5678")]


@pytest.mark.parametrize("wish", ["", "cpu:0", "cpu:x", "cpu:-1", "cuda", "0,", "0,cpu", "auto,0"])
def test_words_that_mean_nothing_are_refused(three_gpus: None, wish: str) -> None:
    with pytest.raises(UsageError, match="--devices"):
        gpu.slots(wish)


def test_the_same_gpu_twice_is_refused(three_gpus: None) -> None:
    with pytest.raises(UsageError, match="twice"):
        gpu.slots("0,GPU-aaaa1111-0000")


def test_an_unknown_gpu_is_answered_by_what_there_is(three_gpus: None) -> None:
    with pytest.raises(SurroundingsError, match="0: GPU-aaaa1111-0000") as caught:
        gpu.slots("7")
    assert "\n" not in str(caught.value)
    with pytest.raises(SurroundingsError, match="several"):
        gpu.slots("GPU-aaaa")


def test_a_gpu_on_a_machine_without_one_is_refused(no_gpu: None) -> None:
    with pytest.raises(SurroundingsError, match="--devices cpu"):
        gpu.slots("0")


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "200000 100000\n"}, 2.0),
        ({"proc/self/cgroup": "0::/../host\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, None),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/x\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({"proc/self/cgroup": "broken\n"}, None),
        ({}, None),
    ],
)
def test_the_cpu_quota_is_read_from_both_kinds_of_control_groups(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    root = _tree(tmp_path, files)
    assert cores.cpu_quota(root) == quota
    allowed = len(os.sched_getaffinity(0))
    assert cores.usable_cores(root) == (allowed if quota is None else max(1, min(allowed, int(quota))))


def test_affinity_counts() -> None:
    core = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{core}}}); from worker.cores import usable_cores; print(usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_lines_that_are_no_gpus_are_skipped() -> None:
    assert [found.uuid for found in gpu.parse_gpus("Warning: persistence, mode\n" + LISTING)] == [
        "GPU-aaaa1111-0000",
        "GPU-aaaa2222-0000",
        "GPU-bbbb0000-0000",
    ]


def test_the_probe_answers_and_leaves_this_process_without_torch(no_gpu: None) -> None:
    code = (
        "import sys; from worker import gpu; from worker.settings import load;"
        "print(gpu.probe_dtype(gpu.slots('cpu'), load())); assert 'torch' not in sys.modules"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() in (Dtype.FLOAT32, Dtype.BFLOAT16)


def test_gpus_that_torch_cannot_use_are_said_to_be_so(three_gpus: None) -> None:
    # This machine's torch cannot have these made-up GPUs.
    with pytest.raises(SurroundingsError, match="--devices cpu"):
        gpu.probe_dtype(gpu.slots("0,1"), load())
