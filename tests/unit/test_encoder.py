"""The encoder by itself: its forms of a linear map, and a last layer of which only the first tokens are computed."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from pipelines.errors import InputError
from pipelines.roberta.activations import ACTIVATIONS
from pipelines.roberta.checkpoint import find
from pipelines.roberta.config import ACTIVATIONS as NAMES
from pipelines.roberta.encoder import Encoder
from pipelines.roberta.linear import Linear, PlainLinear, linear_form, takes_int8
from pipelines.roberta.onednn import PackedLinear, QuantizedLinear
from pipelines.roberta.quantized import quantize, quantized_weight
from pipelines.roberta.states import LAST_FIRST, LAST_TOKENS, Needs
from pipelines.spec import Dtype

CPU = torch.device("cpu")
LENGTHS = (61, 61, 40, 17, 17, 17, 3, 2)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-5), (Dtype.BFLOAT16, 0.1), (Dtype.FLOAT16, 0.02), (Dtype.INT8, 0.1)]
)
def test_the_first_tokens_are_the_same_without_the_others(tiny_model: Path, dtype: Dtype, tolerance: float) -> None:
    encoder = Encoder.load(find(str(tiny_model)), CPU, dtype)
    random = np.random.default_rng(0)
    rows = [np.concatenate(([0], random.integers(5, 500, length - 1))).astype(np.int32) for length in LENGTHS]
    whole, firsts = encoder.forward(rows), encoder.forward(rows, LAST_FIRST)
    assert firsts.first().shape == whole.first().shape == (len(LENGTHS), encoder.config.hidden_size)
    assert (firsts.first().float() - whole.first().float()).abs().max() <= tolerance
    tokens = whole.tokens()
    assert len(tokens) == sum(LENGTHS)
    assert torch.equal(whole.first(), tokens[whole.packing.cu_seqlens[:-1]])
    with pytest.raises(ValueError, match="had not asked for"):
        firsts.tokens()


def test_any_layer_is_left_that_is_asked_for(tiny_model: Path) -> None:
    encoder = Encoder.load(find(str(tiny_model)), CPU, Dtype.FLOAT32)
    oracle = transformers.AutoModel.from_pretrained(tiny_model, attn_implementation="eager").eval()
    layers = encoder.config.num_hidden_layers
    rows = [np.array([0, *range(10, 10 + length), 2], np.int32) for length in (9, 5, 1)]
    wanted = [oracle(input_ids=torch.tensor(np.array([row])), output_hidden_states=True).hidden_states for row in rows]
    for asked in ((0,), (1,), (-1, -2), tuple(range(layers + 1))):
        states = encoder.forward(rows, Needs(tokens=frozenset(asked)))
        assert len(states.kept_tokens) == len(asked)
        assert not states.kept_firsts
        for number in asked:
            expected = torch.cat([hidden[number][0] for hidden in wanted])
            assert (states.tokens(number) - expected).abs().max() <= 1e-5
    states = encoder.forward(rows, Needs(tokens=frozenset({1}), firsts=frozenset({0, -1})))
    for number in (0, -1):
        assert (states.first(number) - torch.cat([hidden[number][:, 0] for hidden in wanted])).abs().max() <= 1e-5


@pytest.mark.parametrize("needs", [LAST_TOKENS, LAST_FIRST])
def test_beside_the_widest_rows_little_is_held(tiny_model: Path, needs: Needs) -> None:
    """Query, key, value and what attention gave are gone: a micro-batch takes half as much memory without them."""
    encoder = Encoder.load(find(str(tiny_model)), CPU, Dtype.FLOAT32)
    held: list[int] = []

    def storages() -> dict[int, int]:
        """Address and bytes of what tensors there are; those of oneDNN do not tell."""
        things = (thing for thing in gc.get_objects() if type(thing) is torch.Tensor and thing.layout is torch.strided)
        return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in things}

    class Watched:
        def __init__(self, linear: Linear) -> None:
            self.linear, self.nbytes = linear, linear.nbytes

        def __call__(self, rows: torch.Tensor) -> torch.Tensor:
            return self.linear(rows)

        def activated(self, rows: torch.Tensor) -> torch.Tensor:
            return self.linear.activated(rows)

        def added(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
            held.append(sum(size for address, size in storages().items() if address not in before))
            return self.linear.added(rows, residual)

    encoder._layers = [replace(layer, outer=Watched(layer.outer)) for layer in encoder._layers]
    rows = [np.arange(5, 5 + length, dtype=np.int32) for length in LENGTHS]
    gc.collect()
    before = storages()
    encoder.forward(rows, needs)
    wide, narrow = encoder.config.intermediate_size, encoder.config.hidden_size
    most = 4 * sum(LENGTHS) * (wide + 2 * narrow)
    assert len(held) == encoder.config.num_hidden_layers
    assert max(held) < 1.2 * most + 10_000


def test_layers_above_those_needed_are_not_computed(tiny_model: Path) -> None:
    encoder = Encoder.load(find(str(tiny_model)), CPU, Dtype.FLOAT32)
    encoder._layers[1:] = []  # what is not there cannot be computed
    states = encoder.forward([np.array([0, 10, 2], np.int32)], Needs(firsts=frozenset({0})))
    assert states.first(0).shape == (1, encoder.config.hidden_size)
    with pytest.raises(ValueError, match="no hidden state 9"):
        states.first(9)


def test_there_is_a_form_for_every_format() -> None:
    forms = {dtype: linear_form(dtype, stream, CPU, "gelu") for dtype, stream in FORMATS.items()}
    made = {dtype: type(form(torch.randn(8, 16), torch.randn(8))) for dtype, form in forms.items()}
    packed = PackedLinear if takes_int8(CPU) else PlainLinear
    assert made == {Dtype.FLOAT32: packed, Dtype.FLOAT16: PlainLinear, Dtype.INT8: QuantizedLinear}


FORMATS = {Dtype.FLOAT32: torch.float32, Dtype.FLOAT16: torch.float16, Dtype.INT8: torch.float32}


@pytest.mark.parametrize("activation", NAMES)
def test_every_form_computes_the_same(activation: str) -> None:
    torch.manual_seed(0)
    rows, residual = torch.randn(50, 48), torch.randn(50, 32)
    weight, bias = torch.randn(32, 48) / 7, torch.randn(32)
    plain = PlainLinear(weight, bias, dtype=torch.float32, device=CPU, activation=activation)
    assert torch.equal(plain.activated(rows), ACTIVATIONS[activation](plain(rows)))
    packed = PackedLinear(weight, bias, dtype=torch.float32, activation=activation)
    quantized = QuantizedLinear(weight, bias, activation=activation)
    for form, tolerance in ((packed, 1e-5), (quantized, 0.05)):
        assert (form(rows) - plain(rows)).abs().max() <= tolerance
        assert (form.activated(rows).float() - plain.activated(rows)).abs().max() <= tolerance
        assert (form.added(rows, residual) - plain.added(rows, residual)).abs().max() <= tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shift", [-5.0, 0.0, 0.7, 5.0])
def test_bytes_stand_for_the_numbers_they_were_made_of(dtype: torch.dtype, shift: float) -> None:
    torch.manual_seed(0)
    rows = (torch.randn(33, 70) + shift).to(dtype)
    data, scale, zero_point = quantize(rows)
    assert data.dtype is torch.uint8
    assert data.shape == rows.shape
    restored = (data.float() - zero_point) * scale
    assert (restored - rows.float()).abs().max() <= scale * 0.5001 + 1e-6
    assert quantize(torch.zeros(2, 3))[2] == 0


def test_weights_become_bytes_by_output() -> None:
    weight = torch.tensor([[1.0, -2.0], [0.0, 0.0], [100.0, 0.4]])
    _, scales = quantized_weight(weight)
    assert torch.allclose(scales, torch.tensor([2 / 127, 0.0, 100 / 127]))


def test_what_is_not_finite_is_not_made_bytes() -> None:
    with pytest.raises(InputError, match="not a finite number"):
        quantized_weight(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(FloatingPointError):
        quantize(torch.tensor([[1.0, float("inf")]]))


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu"])
def test_an_activation_goes_on_as_bytes_where_its_range_fits(activation: str) -> None:
    torch.manual_seed(0)
    rows, residual = torch.randn(50, 48), torch.randn(50, 48)
    inner_weight, outer_weight = torch.randn(96, 48) / 7, torch.randn(48, 96) / 10
    inner = QuantizedLinear(inner_weight, torch.zeros(96), activation=activation)
    outer = QuantizedLinear(outer_weight, torch.zeros(48), activation=activation)
    exact = residual + ACTIVATIONS[activation](rows @ inner_weight.T) @ outer_weight.T
    own = inner.activated(rows)
    inner.feed(outer, float(own.max()))
    for factor, dtype in ((1.0, torch.uint8), (3.0, own.dtype), (0.1, own.dtype)):  # it fits, is exceeded, is unused
        activated = inner.activated(rows * factor)
        assert activated.dtype is dtype
        if factor == 1.0:
            assert (outer.added(activated, residual) - exact).abs().max() <= 0.1
        else:
            assert torch.equal(activated, _dynamic(inner_weight, activation).activated(rows * factor))


def _dynamic(weight: torch.Tensor, activation: str) -> QuantizedLinear:
    return QuantizedLinear(weight, torch.zeros(len(weight)), activation=activation)


@pytest.mark.parametrize("highest", [0.0, float("inf"), float("nan")])
def test_no_range_is_made_of_what_is_none(highest: float) -> None:
    inner, outer = _dynamic(torch.randn(96, 48), "gelu"), _dynamic(torch.randn(48, 96), "gelu")
    inner.feed(outer, highest)
    assert inner.activated(torch.randn(4, 48)).dtype is not torch.uint8


def test_int8_remembers_no_earlier_documents(tiny_model: Path) -> None:
    random = np.random.default_rng(1)
    first, second = ([random.integers(5, 500, length).astype(np.int32) for length in LENGTHS] for _ in range(2))
    encoder, other = (Encoder.load(find(str(tiny_model)), CPU, Dtype.INT8) for _ in range(2))
    encoder.forward(first)
    assert torch.equal(encoder.forward(second).tokens(), other.forward(second).tokens())
