"""Mixtures of rows, and the draws of their weights: one piece for every objective that makes harder pairs by mixing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.objectives._inputs import check_above, full_precision
from counterpoint.objectives._unit import unit_rows

__all__ = ["beta", "mix", "uniform"]


def mix(first: Tensor, second: Tensor, weight: float | Tensor, *, normalize: bool = False) -> Tensor:
    """``weight * first + (1 - weight) * second``, row by row.

    A weight of 1 gives ``first`` exactly, and 0 ``second``; above 1 or below 0 the line is followed beyond its ends
    (extrapolation). Gradients reach both rows and the weight: detach what should not learn.

    Args:
        first: ``(..., D)`` floating point.
        second: ``(..., D)``; shapes broadcast against each other.
        weight: a number, or a tensor: one per row (``(N,)`` for rows ``(N, D)``, and for ``(K, N, D)`` the same N in
            every of the K), or with as many dimensions as the rows, which broadcasts against them: ``(N, 1)``, or
            ``(N, D)`` for a weight per dimension.
        normalize: scale the mixtures to length 1 (float32 then, or float64); a mixture of length 0 stays as it is.

    Returns:
        ``(..., D)``, of the wider of the rows' two types.

    Raises:
        ShapeError: shapes that do not fit.
    """
    dtype = torch.promote_types(first.dtype, second.dtype)
    first, second = first.to(dtype), second.to(dtype)
    dims = max(first.dim(), second.dim())
    if isinstance(weight, Tensor):
        weight = weight.to(dtype)
        weight = weight.unsqueeze(-1) if 0 < weight.dim() < dims else weight
    try:
        mixed: Tensor = torch.lerp(second, first, weight)
    except RuntimeError:
        shapes = [tuple(rows.shape) for rows in (first, second)]
        found = f"{getattr(weight, 'shape', weight)} for rows {shapes[0]} and {shapes[1]}"
        raise ShapeError(message("weight", found, "rows of one shape, and a number or one weight a row")) from None
    return unit_rows(mixed) if normalize else mixed


def uniform(
    shape: int | Sequence[int],
    low: float = 0.0,
    high: float = 1.0,
    *,
    like: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Weights drawn evenly from [low, high).

    Args:
        shape: of what is returned.
        low: least weight.
        high: bound above; ``high == low`` gives that weight.
        like: a tensor whose device, and precision (at least float32), the weights take; None: float32 on the CPU.
        generator: None: torch's global one, which the trainer seeds for every step.

    Raises:
        ConfigError: ``high`` below ``low``.
    """
    if not low <= high:
        raise ConfigError(message("low, high", f"{low}, {high}", "low <= high"))
    device, dtype = _kind(like)
    drawn = torch.rand(_size(shape), generator=generator, device=device, dtype=dtype)
    return drawn.mul_(high - low).add_(low)


def beta(
    shape: int | Sequence[int],
    a: float = 1.0,
    b: float = 1.0,
    *,
    like: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Weights drawn from Beta(a, b), in [0, 1]: mean ``a / (a + b)``; ``a = b = 1`` is even.

    Args:
        shape: of what is returned.
        a: above 0.
        b: above 0.
        like: as in `uniform`.
        generator: as in `uniform`.

    Raises:
        ConfigError: ``a`` or ``b`` that is not above 0.
    """
    check_above("a", a)
    check_above("b", b)
    device, dtype = _kind(like)
    concentration = torch.tensor([a, b], device=device, dtype=dtype).expand(*_size(shape), 2)
    # What torch.distributions.Beta calls, which takes no generator.
    drawn: Tensor = torch._sample_dirichlet(concentration, generator)
    return drawn[..., 0]


def _size(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _kind(like: Tensor | None) -> tuple[torch.device, torch.dtype]:
    if like is None:
        return torch.device("cpu"), torch.float32
    return like.device, full_precision(like.new_empty(0)).dtype
