"""Which number format ``auto`` takes on a CPU."""

from __future__ import annotations

import pytest
import torch

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
