"""Which number formats a device has, and which one ``auto`` takes on a CPU."""

from __future__ import annotations

import pytest
import torch

from pipelines.errors import SurroundingsError
from pipelines.roberta import native
from pipelines.roberta.linear import takes_int8
from pipelines.spec import Dtype


def test_both_formats_are_tried_on_this_cpu() -> None:
    assert native.seconds_of(Dtype.FLOAT32) > 0
    if takes_int8(torch.device("cpu")) and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert native.seconds_of(Dtype.BFLOAT16) > 0


@pytest.mark.parametrize(("float32_s", "bfloat16_s", "pays"), [(1.0, 0.2, True), (1.0, 1.7, False), (1.0, 0.9, False)])
def test_half_of_the_digits_are_given_up_for_speed_only(
    float32_s: float, bfloat16_s: float, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {Dtype.FLOAT32: float32_s, Dtype.BFLOAT16: bfloat16_s}
    monkeypatch.setattr(native, "seconds_of", taken.__getitem__)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert native.bfloat16_pays() is (pays and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not native.bfloat16_pays()


@pytest.mark.parametrize(
    ("dtype", "device", "capability", "refused"),
    [
        (Dtype.FLOAT32, "cpu", None, ""),
        (Dtype.BFLOAT16, "cpu", None, ""),
        (Dtype.FLOAT16, "cpu", None, "A CPU does not compute float16. Take bfloat16 or float32."),
        (Dtype.FLOAT16, "cuda", (7, 5), ""),
        (Dtype.INT8, "cuda", (9, 0), "int8 is computed on CPUs only, by a torch that was built with oneDNN."),
        (Dtype.BFLOAT16, "cuda", (8, 0), ""),
        (Dtype.BFLOAT16, "cuda", (7, 5), "T4 does not compute bfloat16. Take float16 or float32."),
    ],
)
def test_what_a_device_cannot_compute_is_refused(
    dtype: Dtype, device: str, capability: tuple[int, int] | None, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "T4")
    if not refused:
        native.refuse_dtype(dtype, torch.device(device))
        return
    with pytest.raises(SurroundingsError) as said:
        native.refuse_dtype(dtype, torch.device(device))
    assert str(said.value).startswith(refused)
