"""Exact gradient caching: a batch larger than memory, through the encoder in chunks, with the whole batch's gradients.

GradCache (Gao et al. 2021): encode without keeping activations, compute the loss on all embeddings, and in the backward
pass encode again, chunk by chunk, with the embeddings' gradients. As a node of the graph it works with automatic
optimisation and DDP. Random states are replayed, so that dropout masks are the same both times. The last chunk, with
which the backward pass begins, keeps its activations and is encoded once. Cost: one more forward pass of the others,
so a little less than 4/3 of the time; memory is that of one chunk's activations and of the embeddings.

`torch.utils.checkpoint` would do the same with hooks on every saved tensor: about 5 % slower where tensors are small.

BatchNorm normalises over a chunk instead of the batch (as in every implementation of the idea); its running statistics
are updated once a chunk, not again in the second pass. Other buffers that a forward pass changes (spectral norm's
vectors) are not looked after. Parameters that a forward pass replaces, as FSDP does, are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import get_device_states, set_device_states

from counterpoint.errors import ConfigError, message
from counterpoint.nn import rows
from counterpoint.types import Encoding, View


def encode_in_chunks(encoder: nn.Module, view: View, micro_batch: int, pooled_only: bool = False) -> Encoding:
    """``encoder(view)``, ``micro_batch`` rows at a time, with memory for the activations of one chunk only.

    Args:
        encoder: view -> `Encoding`.
        view: data that can be cut into rows (see ``rows``).
        micro_batch: rows at once. Without gradients, too: what stands between two layers is memory as well.
        pooled_only: leave tokens and mask out, which otherwise stay in memory for the whole batch.

    Raises:
        ConfigError: ``micro_batch`` below 1, data that cannot be cut into rows, or an encoder that computes with
            parameters that are not its own.
    """
    if micro_batch < 1:
        raise ConfigError(message("micro_batch", micro_batch, "a whole number from 1"))
    count = rows.count(view.data)
    if count is None:
        found = f"{micro_batch} for views of {view.modality!r}, a {type(view.data).__name__}"
        todo = "Set it to the batch size, which turns gradient caching off."
        raise ConfigError(message("micro_batch", found, "only for views that can be cut into rows", todo))
    *others, last = rows.cut(view.data, micro_batch) if count > micro_batch else [view.data]
    job = _Job(encoder, view, pooled_only, others)
    if not others:
        return job.encode(last)
    if not torch.is_grad_enabled():
        return _joined([job.encode(piece) for piece in (*others, last)])
    # In this order: the backward pass begins with what was computed last, and frees it before anything is repeated.
    repeated = Encoding(*_Repeated.apply(job, *job.leaves(), *job.parameters))
    kept = job.encode(last)
    _refuse_foreign(kept, job.parameters, rows.tensors(last))
    return _joined([repeated, kept])


@dataclass
class _Job:
    """What the second pass must know of the first."""

    encoder: nn.Module
    view: View
    pooled_only: bool
    pieces: list[Any]
    parameters: list[nn.Parameter] = field(init=False)
    states: list[_State] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parameters = [p for p in self.encoder.parameters() if p.requires_grad]

    def leaves(self) -> list[Tensor]:
        return [leaf for piece in self.pieces for leaf in rows.tensors(piece)]

    def encode(self, piece: Any, buffers: dict[str, Tensor] | None = None) -> Encoding:
        view = replace(self.view, data=piece)
        found: Encoding = functional_call(self.encoder, buffers, (view,)) if buffers else self.encoder(view)
        return replace(found, tokens=None, mask=None) if self.pooled_only else found


class _State:
    """Random states and autocast of the first pass, and the second pass under the same."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.kind = tensors[0].device.type
        self.cpu = torch.get_rng_state()
        self.devices, self.others = get_device_states(*tensors)
        self.dtype, self.half = torch.get_autocast_dtype(self.kind), torch.is_autocast_enabled(self.kind)

    def autocast(self) -> torch.autocast:
        # Without its cache: a weight cast in a pass without gradients, or in a graph that is freed, must not be reused.
        return torch.autocast(self.kind, dtype=self.dtype, enabled=self.half, cache_enabled=False)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        set_device_states(self.devices, self.others, device_type=self.kind)


class _Repeated(torch.autograd.Function):
    """Encode without a graph; in the backward pass encode again, piece by piece, and collect the gradients."""

    @staticmethod
    def forward(ctx: Any, job: _Job, *inputs: Tensor) -> tuple[Tensor | None, ...]:
        ctx.job = job
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)
        parts = []
        for piece in job.pieces:
            state = _State(rows.tensors(piece))
            job.states.append(state)
            with state.autocast():
                parts.append(job.encode(piece))
        whole = _joined(parts)
        if whole.mask is not None:
            ctx.mark_non_differentiable(whole.mask)
        return whole.pooled, whole.tokens, whole.mask, whole.features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        job: _Job = ctx.job
        _ = ctx.saved_tensors  # autograd's own check: it raises if one of them was written to in the meantime
        buffers = running_statistics(job.encoder)
        of_leaves: list[Tensor | None] = []
        of_parameters = _Sums(len(job.parameters))
        start = 0
        for piece, state in zip(job.pieces, job.states):
            end = start + (rows.count(piece) or 0)
            of_outputs = (gradients[0], gradients[1], gradients[3])  # a mask has none
            shares = [None if g is None else g[start:end] for g in of_outputs]
            of_piece, found = _repeat(job, piece, state, buffers, shares)
            of_leaves += of_piece
            of_parameters.add(found)
            start = end
        return (None, *of_leaves, *of_parameters.total)


def _repeat(
    job: _Job, piece: Any, state: _State, buffers: dict[str, Tensor], gradients: Sequence[Tensor | None]
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Gradients of one piece's leaves and of all parameters."""
    leaves = [leaf.detach().requires_grad_(leaf.requires_grad) for leaf in rows.tensors(piece)]
    again = rows.rebuilt(piece, iter(leaves))
    with torch.enable_grad(), torch.random.fork_rng(devices=state.devices, device_type=state.kind), state.autocast():
        state.restore()
        encoding = job.encode(again, buffers)
    pairs = [(a, b) for a, b in zip(_learnt(encoding), gradients) if a is not None and b is not None]
    wanted = [*(leaf for leaf in leaves if leaf.requires_grad), *job.parameters]
    outputs, directions = zip(*pairs)
    found: list[Tensor | None] = list(torch.autograd.grad(outputs, wanted, directions, allow_unused=True))
    of_leaves = [found.pop(0) if leaf.requires_grad else None for leaf in leaves]
    return of_leaves, found


def _refuse_foreign(encoding: Encoding, parameters: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
    """Walk the kept chunk's graph: what it learns beside ``parameters`` would get that chunk's gradient alone.

    Raises:
        ConfigError: there is such a thing.
    """
    known = {id(tensor) for tensor in (*parameters, *leaves)}
    seen: set[Any] = {leaf.grad_fn for leaf in leaves}
    ahead = [output.grad_fn for output in _learnt(encoding) if output is not None]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in known:
            found = f"an encoder that computes with a {tuple(variable.shape)} parameter that is not its own"
            todo = "Set it to the batch size, which turns gradient caching off (FSDP needs that)."
            raise ConfigError(message("micro_batch", found, "encoders that hold what they learn", todo))
        ahead += [following for following, _ in node.next_functions]


class _Sums:
    """Gradients summed over the pieces; in place only into tensors made here, as autograd's may be shared."""

    def __init__(self, count: int) -> None:
        self.total: list[Tensor | None] = [None] * count
        self._ours = [False] * count

    def add(self, gradients: Sequence[Tensor | None]) -> None:
        for number, gradient in enumerate(gradients):
            total = self.total[number]
            if gradient is None or total is None:
                self.total[number] = total if gradient is None else gradient
            elif self._ours[number]:
                total.add_(gradient)
            else:
                self.total[number], self._ours[number] = total + gradient, True


def running_statistics(module: nn.Module) -> dict[str, Tensor]:
    """Copies of what the batch and instance norms inside ``module`` keep, by the buffers' names."""
    norms = {name: m for name, m in module.named_modules() if isinstance(m, _NormBase)}
    return {f"{name}.{key}".lstrip("."): b.clone() for name, norm in norms.items() for key, b in norm.named_buffers()}


def _learnt(encoding: Encoding) -> tuple[Tensor | None, ...]:
    """What carries gradients, in the order of an encoding's fields."""
    return encoding.pooled, encoding.tokens, encoding.features


def _joined(parts: Sequence[Encoding]) -> Encoding:
    pooled = torch.cat([part.pooled for part in parts])
    before = [part.features for part in parts if part.features is not None]
    features = torch.cat(before) if before else None
    tokens = [part.tokens for part in parts if part.tokens is not None]
    if not tokens:
        return Encoding(pooled, features=features)
    if all(part.mask is None for part in parts):
        return Encoding(pooled, torch.cat(tokens), features=features)
    # A chunk without a mask among chunks with one: all its tokens are real.
    masks = [
        part.mask if part.mask is not None else _all_real(part.tokens) for part in parts if part.tokens is not None
    ]
    return Encoding(pooled, torch.cat(tokens), torch.cat(masks), features)


def _all_real(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
