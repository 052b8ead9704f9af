"""Gradient caching: the gradients of the whole batch, with dropout, BatchNorm, tokens, masks, and half precision."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError
from counterpoint.nn import chunks, encode_in_chunks
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


def test_the_chunks_themselves_are_handed_on_so_that_a_gpus_random_state_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`checkpoint` keeps the random states of the devices of the tensors among its arguments, and of no others."""
    seen: list[Any] = []
    original = chunks.checkpoint

    def spy(function: Any, *args: Any, **options: Any) -> Any:
        seen.append((args, options))
        return original(function, *args, **options)

    monkeypatch.setattr(chunks, "checkpoint", spy)
    encode_in_chunks(Net(), View(data(), "x"), MICRO)
    assert [args[0].shape[0] for args, _ in seen] == [4, 4, 2]
    assert all(isinstance(args[0], Tensor) and options["preserve_rng_state"] for args, options in seen)


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

    norm, rows = Norm(3), data()[:, 0]
    encoding = encode_in_chunks(norm, View(rows, "x"), MICRO)
    encoding.pooled.square().sum().backward()
    assert int(norm.num_batches_tracked) == 3
    wanted = [nn.functional.batch_norm(chunk, None, None, training=True) for chunk in rows.split(MICRO)]
    torch.testing.assert_close(encoding.pooled, torch.cat(wanted))


def test_two_backward_passes_through_one_graph_agree() -> None:
    net, view = Net(dropout=0.3, norm=nn.BatchNorm1d), View(data(), "x")
    loss = loss_of(encode_in_chunks(net, view, MICRO))
    first = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert int(net.norm.num_batches_tracked) == 3


def test_masks_are_joined_also_where_a_chunk_has_none() -> None:
    net, rows = Net(masked=True), data().clamp_min(-0.9)
    rows[1, 2:, 0] = -2.0  # only the first chunk masks anything
    view = View(rows, "x")
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


def test_each_chunk_goes_through_twice_and_a_small_batch_once() -> None:
    net, view = Net(), View(data(), "x")
    loss_of(encode_in_chunks(net, view, MICRO)).backward()
    assert net.calls == 6
    net.calls = 0
    loss_of(encode_in_chunks(net, view, ROWS)).backward()
    assert net.calls == 1


def test_only_the_embeddings_are_kept() -> None:
    net, rows = Net(), data()
    own = {p.data_ptr() for p in net.parameters()} | {rows.untyped_storage().data_ptr()}

    def kept_by(encode: Callable[[View], Encoding]) -> int:
        kept: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            encode(View(rows, "x"))
        return sum(kept)

    assert kept_by(net) > 0
    assert kept_by(lambda view: encode_in_chunks(net, view, MICRO)) == 0


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"micro_batch: found 0; allowed: a whole number from 1"):
        encode_in_chunks(Net(), View(data(), "x"), 0)
    with pytest.raises(
        ConfigError, match=r"micro_batch: found 4 for views of 'graph', a object; .*Set it to the batch"
    ):
        encode_in_chunks(Net(), View(object(), "graph"), 4)
