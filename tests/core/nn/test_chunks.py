"""Gradient caching: the gradients of the whole batch, with dropout, BatchNorm, tokens, masks, and half precision."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError
from counterpoint.nn import chunks, encode_in_chunks, rows
from counterpoint.parts import Encoder
from counterpoint.types import Encoding, View

pytestmark = pytest.mark.unit

ROWS, MICRO = 10, 4  # chunks of 4, 4 and 2
EXACT = {torch.float32: 1e-6, torch.float64: 1e-12}


class Net(Encoder):
    """Dropout in two places, tokens, and for some rows a mask."""

    capabilities = frozenset({"tokens"})

    def __init__(
        self, dropout: float = 0.0, norm: Callable[[int], nn.Module] | None = None, masked: bool = False
    ) -> None:
        super().__init__()
        self.dim, self.masked, self.calls = 6, masked, 0
        self.first, self.last = nn.Linear(3, 6), nn.Linear(6, 6)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.Identity() if norm is None else norm(6)

    def forward(self, view: View) -> Encoding:
        self.calls += 1
        hidden = self.norm(self.first(self.dropout(view.data)).transpose(1, 2)).transpose(1, 2)
        tokens = self.last(self.dropout(torch.tanh(hidden)))
        mask = view.data[..., 0] > -1 if self.masked else None
        if mask is not None and bool(mask.all()):
            mask = None  # as encoders do that mask only where there is something to mask
        weight = torch.ones_like(tokens[..., :1]) if mask is None else mask[..., None].to(tokens.dtype)
        return Encoding((tokens * weight).sum(1) / weight.sum(1).clamp_min(1), tokens, mask)


def loss_of(encoding: Encoding) -> Tensor:
    """Every row meets every row, so that chunks need each other's embeddings."""
    assert encoding.tokens is not None
    z = encoding.pooled
    return (z @ z.T).logsumexp(1).sum() + encoding.tokens.square().mean()


def gradients(net: nn.Module, encode: Callable[[], Encoding]) -> tuple[Tensor, list[Tensor]]:
    net.zero_grad()
    torch.manual_seed(5)
    loss = loss_of(encode())
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in net.parameters() if p.grad is not None]


def plain_loop(net: nn.Module, view: View) -> Encoding:
    """Chunks one after the other, everything kept."""
    parts = [net(View(chunk, view.modality)) for chunk in view.data.split(MICRO)]
    masks = None if parts[0].mask is None else torch.cat([p.mask for p in parts])
    return Encoding(torch.cat([p.pooled for p in parts]), torch.cat([p.tokens for p in parts]), masks)


def data(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(ROWS, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def assert_same(found: tuple[Tensor, list[Tensor]], wanted: tuple[Tensor, list[Tensor]], tolerance: float) -> None:
    torch.testing.assert_close(found[0], wanted[0], rtol=tolerance, atol=tolerance)
    assert len(found[1]) == len(wanted[1]) > 0
    for a, b in zip(found[1], wanted[1]):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("micro", [1, 3, 4, 9])
def test_without_dropout_the_gradients_are_the_whole_batchs(dtype: torch.dtype, micro: int) -> None:
    net, view = Net().to(dtype), View(data(dtype), "x")
    whole = gradients(net, lambda: net(view))
    assert_same(gradients(net, lambda: encode_in_chunks(net, view, micro)), whole, EXACT[dtype])


@pytest.mark.parametrize("dtype", EXACT, ids=str)
def test_with_dropout_the_gradients_are_those_of_the_same_masks(dtype: torch.dtype) -> None:
    net, view = Net(dropout=0.4).to(dtype), View(data(dtype), "x")
    wanted = gradients(net, lambda: plain_loop(net, view))
    assert_same(gradients(net, lambda: encode_in_chunks(net, view, MICRO)), wanted, EXACT[dtype])
    torch.manual_seed(6)
    other = loss_of(plain_loop(net, view))
    assert (other - wanted[0]).abs() > 1e-3  # other masks would have been seen


def test_the_random_state_afterwards_is_that_of_one_forward_pass() -> None:
    net, view, states = Net(dropout=0.4), View(data(), "x"), []
    for encode in (plain_loop, lambda n, v: encode_in_chunks(n, v, MICRO)):
        torch.manual_seed(5)
        loss_of(encode(net, view)).backward()
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_random_states_of_the_views_own_devices_are_kept_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(chunks, "get_device_states", lambda *tensors: seen.append(tensors) or ([], []))
    monkeypatch.setattr(chunks, "set_device_states", lambda *_, **options: seen.append(options))
    net = Net()
    loss_of(encode_in_chunks(net, View(data(), "x"), MICRO)).backward()
    assert [tensors[0].shape[0] for tensors in seen[:2]] == [4, 4]
    assert seen[2:] == [{"device_type": "cpu"}] * 2


def test_gradients_reach_the_input_too() -> None:
    net, found = Net(), []
    for encode in (lambda v: net(v), lambda v: encode_in_chunks(net, v, MICRO)):
        leaf = data(torch.float64).requires_grad_()
        loss_of(encode(View(leaf, "x"))).backward() if net.double() else None
        found.append(leaf.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d, lambda d: nn.InstanceNorm1d(d, affine=True, track_running_stats=True)]
)
def test_running_statistics_are_updated_once_a_chunk(norm: Callable[[int], nn.Module]) -> None:
    cached = Net(norm=norm)
    plain, view = copy.deepcopy(cached), View(data(), "x")
    wanted = gradients(plain, lambda: plain_loop(plain, view))
    found = gradients(cached, lambda: encode_in_chunks(cached, view, MICRO))
    assert_same(found, wanted, 1e-6)  # the second forward pass, too, normalises by the chunk
    assert int(cached.norm.num_batches_tracked) == 3 * isinstance(cached.norm, nn.BatchNorm1d)
    for name, buffer in plain.norm.named_buffers():
        assert torch.equal(buffer, dict(cached.norm.named_buffers())[name]), name
    fresh = norm(6)
    assert not torch.equal(cached.norm.running_mean, fresh.running_mean)


def test_an_encoder_that_is_a_norm_itself() -> None:
    class Norm(nn.BatchNorm1d):
        def forward(self, view: View) -> Encoding:  # type: ignore[override]
            return Encoding(super().forward(view.data))

    norm, points = Norm(3), data()[:, 0]
    encoding = encode_in_chunks(norm, View(points, "x"), MICRO)
    encoding.pooled.square().sum().backward()
    assert int(norm.num_batches_tracked) == 3
    wanted = [nn.functional.batch_norm(chunk, None, None, training=True) for chunk in points.split(MICRO)]
    torch.testing.assert_close(encoding.pooled, torch.cat(wanted))


def test_two_backward_passes_through_one_graph_agree() -> None:
    net, view = Net(dropout=0.3, norm=nn.BatchNorm1d), View(data(), "x")
    loss = loss_of(encode_in_chunks(net, view, MICRO))
    first = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert int(net.norm.num_batches_tracked) == 3


def test_masks_are_joined_also_where_a_chunk_has_none() -> None:
    net, points = Net(masked=True), data().clamp_min(-0.9)
    points[1, 2:, 0] = -2.0  # only the first chunk masks anything
    view = View(points, "x")
    encoding = encode_in_chunks(net, view, MICRO)
    whole = net(view)
    assert encoding.mask is not None
    assert torch.equal(encoding.mask, whole.mask)
    torch.testing.assert_close(encoding.pooled, whole.pooled)
    torch.testing.assert_close(encoding.tokens, whole.tokens)
    assert_same(gradients(net, lambda: encode_in_chunks(net, view, MICRO)), gradients(net, lambda: net(view)), 1e-6)


def test_no_masks_and_no_tokens_stay_none() -> None:
    view = View(data(), "x")
    assert encode_in_chunks(Net(), view, MICRO).mask is None
    only = encode_in_chunks(Net(), view, MICRO, pooled_only=True)
    assert (only.tokens, only.mask) == (None, None)
    assert only.pooled.shape == (ROWS, 6)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_half_precision_is_the_same_in_both_passes(dtype: torch.dtype) -> None:
    net, view = Net(dropout=0.3), View(data(), "x")
    with torch.autocast("cpu", dtype=dtype):
        net.zero_grad()
        torch.manual_seed(5)
        encoding = encode_in_chunks(net, view, MICRO)
        loss = loss_of(encoding)
    loss.backward()  # outside of autocast, as is usual: the second pass must be inside nevertheless
    found = [p.grad.clone() for p in net.parameters()]
    assert encoding.tokens is not None
    assert encoding.tokens.dtype == dtype
    net.zero_grad()
    torch.manual_seed(5)
    with torch.autocast("cpu", dtype=dtype):
        wanted = loss_of(plain_loop(net, view))
    wanted.backward()
    torch.testing.assert_close(loss, wanted)
    for a, p in zip(found, net.parameters()):
        torch.testing.assert_close(a, p.grad, rtol=0.02, atol=0.02 * float(p.grad.abs().max()))


def test_without_gradients_the_chunks_are_cut_too_but_seen_once() -> None:
    net, view = Net(), View(data(), "x")
    with torch.no_grad():
        encoding = encode_in_chunks(net, view, MICRO)
    assert net.calls == 3
    torch.testing.assert_close(encoding.pooled, net(view).pooled)


def test_each_chunk_but_the_last_goes_through_twice_and_a_small_batch_once() -> None:
    net, view = Net(), View(data(), "x")
    loss_of(encode_in_chunks(net, view, MICRO)).backward()
    assert net.calls == 2 + 1 + 2
    net.calls = 0
    loss_of(encode_in_chunks(net, view, ROWS)).backward()
    assert net.calls == 1


def test_activations_of_one_chunk_only_are_kept() -> None:
    net, points = Net(), data()
    own = {p.data_ptr() for p in net.parameters()} | {points.untyped_storage().data_ptr()}

    def kept_by(encode: Callable[[View], Encoding], size: int = ROWS) -> int:
        kept: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            encode(View(points[:size], "x"))
        return sum(kept)

    assert kept_by(net) == 10 * kept_by(net, 1)
    assert kept_by(lambda view: encode_in_chunks(net, view, MICRO)) == kept_by(net, 2)  # the last one has two rows


class Nested(Encoder):
    """Takes a dictionary, a tuple, or a list of tensors of unequal length."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 4
        self.linear, self.dropout = nn.Linear(3, 4), nn.Dropout(0.3)

    def forward(self, view: View) -> Encoding:
        if isinstance(view.data, list):
            return Encoding(torch.stack([self.dropout(self.linear(row)).mean(0) for row in view.data]))
        x, y = view.data.values() if isinstance(view.data, dict) else view.data
        return Encoding(self.dropout(self.linear(x)) * y[:, None])


@pytest.mark.parametrize("kind", ["dictionary", "tuple", "list"])
def test_data_may_be_nested_and_take_gradients(kind: str) -> None:
    x, y = data(torch.float64)[:, 0].requires_grad_(), torch.arange(1.0, ROWS + 1).double().requires_grad_()
    nested: Any = {"dictionary": {"x": x, "y": y}, "tuple": (x, y), "list": [x[: 1 + i] * y[i] for i in range(ROWS)]}[
        kind
    ]
    net, found = Nested().double(), []

    def loop(view: View) -> Encoding:
        return Encoding(torch.cat([net(View(c, "x")).pooled for c in rows.cut(view.data, MICRO)]))

    for encode in (loop, lambda view: encode_in_chunks(net, view, MICRO)):
        torch.manual_seed(3)
        pooled = encode(View(nested, "x")).pooled
        found.append(torch.autograd.grad(pooled.square().sum(), [*net.parameters(), x, y], retain_graph=True))
    for a, b in zip(*found):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["replaced", "borrowed"])
def test_an_encoder_that_learns_what_is_not_its_own_is_refused(kind: str) -> None:
    """Or that would get the gradient of the last chunk alone, and nobody would notice."""
    borrowed = nn.Parameter(torch.ones(6))

    class Foreign(Net):
        def forward(self, view: View) -> Encoding:
            if kind == "borrowed":
                return Encoding(super().forward(view).pooled * borrowed)
            other = self.first.weight.detach().clone().requires_grad_()  # as under FSDP
            return Encoding((view.data @ other.T).mean(1))

    shape = {"replaced": r"\(6, 3\)", "borrowed": r"\(6,\)"}[kind]
    with pytest.raises(ConfigError, match=rf"micro_batch: found an encoder .* {shape} parameter .*FSDP needs that"):
        encode_in_chunks(Foreign(), View(data(), "x"), MICRO)


def test_data_that_others_learn_is_not_the_encoders_business() -> None:
    prompt, net = nn.Parameter(torch.ones(3)), Net()
    wanted = torch.autograd.grad(loss_of(net(View(data() * prompt, "x"))), prompt)
    found = torch.autograd.grad(loss_of(encode_in_chunks(net, View(data() * prompt, "x"), MICRO)), prompt)
    torch.testing.assert_close(found, wanted)


def test_a_parameter_that_was_written_to_before_the_backward_pass_is_noticed() -> None:
    net = Net()
    loss = loss_of(encode_in_chunks(net, View(data(), "x"), MICRO))
    with torch.no_grad():
        net.first.bias.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_backward_pass_inside_of_autocast_reuses_no_cast_weight_of_a_graph_that_is_gone() -> None:
    net, view, found = Net(), View(data(), "x"), []
    for encode in (lambda v: net(v), lambda v: encode_in_chunks(net, v, MICRO)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(torch.autograd.grad(loss_of(encode(view)), list(net.parameters())))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02 * float(b.abs().max()))


def test_views_of_two_shapes_in_half_precision_share_cast_weights() -> None:
    net = Net()
    found = []
    for encode in (lambda v: net(v), lambda v: encode_in_chunks(net, v, MICRO)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(encode(View(data(), "x"))) + loss_of(encode(View(data()[:, :2], "x")))
        found.append(torch.autograd.grad(loss, list(net.parameters())))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02 * float(b.abs().max()))


def test_unused_and_frozen_parameters_get_no_gradient() -> None:
    net = Net()
    net.spare = nn.Linear(2, 2)
    net.first.requires_grad_(False)
    loss_of(encode_in_chunks(net, View(data(), "x"), MICRO)).backward()
    assert net.spare.weight.grad is None
    assert net.first.weight.grad is None
    assert net.last.weight.grad.abs().max() > 0


def test_two_parameters_that_share_one_gradient() -> None:
    """autograd hands out one tensor for both, which must not be summed into twice."""

    class Shared(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.dim, self.a, self.b = 3, nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))

        def forward(self, view: View) -> Encoding:
            return Encoding(torch.tanh(view.data[:, 0] + (self.a + self.b)))

    net, view = Shared(), View(data(), "x")
    wanted = torch.autograd.grad(net(view).pooled.sum(), list(net.parameters()))
    found = torch.autograd.grad(encode_in_chunks(net, view, 2).pooled.sum(), list(net.parameters()))
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)


def test_a_loss_on_tokens_alone_or_on_pooled_alone() -> None:
    net, view = Net().double(), View(data(torch.float64), "x")
    for pick in (lambda e: e.tokens.square().sum(), lambda e: e.pooled.square().sum()):
        wanted = torch.autograd.grad(pick(net(view)), list(net.parameters()))
        found = torch.autograd.grad(pick(encode_in_chunks(net, view, MICRO)), list(net.parameters()))
        for a, b in zip(found, wanted):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


class Projecting(Net):
    """Pooled is a projection of the features."""

    def forward(self, view: View) -> Encoding:
        found = super().forward(view)
        return Encoding(self.last(found.pooled), found.tokens, found.mask, features=found.pooled)


def test_features_before_a_projection_keep_their_gradients() -> None:
    net, view = Projecting().double(), View(data(torch.float64), "x")
    for pick in (lambda e: e.features.square().sum(), lambda e: (e.features * e.pooled).sum()):
        wanted = torch.autograd.grad(pick(net(view)), list(net.parameters()))
        found = torch.autograd.grad(pick(encode_in_chunks(net, view, MICRO, pooled_only=True)), list(net.parameters()))
        for a, b in zip(found, wanted):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"micro_batch: found 0; allowed: a whole number from 1"):
        encode_in_chunks(Net(), View(data(), "x"), 0)
    with pytest.raises(
        ConfigError, match=r"micro_batch: found 4 for views of 'graph', a object; .*Set it to the batch"
    ):
        encode_in_chunks(Net(), View(object(), "graph"), 4)
