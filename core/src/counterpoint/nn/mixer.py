"""Several layers of one encoder -> one: softmax weights between two orthogonal maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import orthogonal as orthogonal_

from counterpoint.errors import ConfigError, ShapeError, message


class LayerMixer(nn.Module):
    """Tokens of K layers, ``(B, K, N, D)`` -> ``(B, N, D)``, by learnt weights between two orthogonal maps.

    ``m = sum_k a_k W1 LN(z_k)``, ``v = W2 LN'(m)`` with ``a = softmax(alpha)`` over the chosen layers, alpha = 0 at
    first (their plain mean), both LayerNorms shared by all layers, W1 and W2 square and without bias. Orthogonality is
    a hard constraint by default: whatever the optimiser does, lengths stay. It is computed in float32 under autocast.

    Args:
        dim: D.
        layers: K.
        orthogonal: hold W1 and W2 orthogonal. Without, they are free; `penalty` is the soft form.
        per_layer: a W1 for each layer instead of one for all (one W1 may as well follow the sum; several may not).

    Attributes:
        chosen: ``(K,)`` bool buffer, the layers that take part; all at first (see `choose`).

    Raises:
        ConfigError: a number below 1.

    Source: CoME-VL (arXiv 2604.03231), "orthogonality-constrained" layer aggregation; the released code's W1 is shared.
    Its indices are 0-based but read as 1-based, so that one layer is used twice: here each layer counts once.
    """

    chosen: Tensor

    def __init__(self, dim: int, layers: int, orthogonal: bool = True, per_layer: bool = False) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("layers", layers)):
            if value < 1:
                raise ConfigError(message(f"LayerMixer.{name}", value, "a whole number from 1"))
        self.alpha = nn.Parameter(torch.zeros(layers))
        self.norm, self.middle = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.first = nn.ModuleList(_square(dim, orthogonal) for _ in range(layers if per_layer else 1))
        self.second = _square(dim, orthogonal)
        self.register_buffer("chosen", torch.ones(layers, dtype=torch.bool))

    def choose(self, layers: Sequence[int]) -> None:
        """Let only ``layers`` (numbers from 0, each once; negative ones count from the end) take part.

        Raises:
            ConfigError: no layer, or one that there is not.
        """
        count = len(self.chosen)
        wrong = [layer for layer in layers if not -count <= layer < count]
        if wrong or not layers:
            found = ", ".join(map(str, wrong)) or "none"
            raise ConfigError(message("LayerMixer: layers", found, f"at least one number from 0 to {count - 1}"))
        self.chosen.zero_()
        self.chosen[list(layers)] = True

    @property
    def weights(self) -> Tensor:
        """``(K,)`` a_k: 0 for layers that are not chosen, together 1."""
        return self.alpha.masked_fill(~self.chosen, -torch.inf).softmax(0)

    def penalty(self) -> Tensor:
        """Sum of ``||W'W - I||_F^2`` over the maps, to be weighted (1e-3); about 0 where they are orthogonal."""
        weights = [map_.weight for map_ in (*self.first, self.second)]
        eye = torch.eye(weights[0].shape[0], dtype=weights[0].dtype, device=weights[0].device)
        return torch.stack([(weight.T @ weight - eye).square().sum() for weight in weights]).sum()

    def forward(self, layers: Tensor) -> Tensor:
        """``(B, K, N, D)`` -> ``(B, N, D)``.

        Raises:
            ShapeError: not K layers of width D.
        """
        count, dim = len(self.alpha), self.norm.normalized_shape[0]
        if layers.dim() != 4 or layers.shape[1] != count or layers.shape[3] != dim:
            raise ShapeError(message("layers", f"shape {tuple(layers.shape)}", f"(B, {count}, N, {dim})"))
        used = self.chosen.nonzero().flatten()
        weights, normed = self.weights[used], self.norm(layers[:, used] if len(used) < count else layers)
        if len(self.first) == 1:  # one map for all: it may follow the sum
            mixed = _mapped(self.first[0], torch.einsum("k,bknd->bnd", weights, normed))
        else:
            parts = [_mapped(self.first[number], normed[:, place]) for place, number in enumerate(used.tolist())]
            mixed = torch.einsum("k,bknd->bnd", weights, torch.stack(parts, 1))
        return _mapped(self.second, self.middle(mixed))


class GatedMLP(nn.Module):
    """``v + Linear(dropout(GEGLU(LN(v))))``: what follows the mixer of a self-supervised encoder (CoME-VL).

    Args:
        dim: width of the tokens.
        expansion: the hidden width over ``dim``.
        dropout: of the hidden layer.
    """

    def __init__(self, dim: int, expansion: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Linear(dim, 2 * expansion * dim)
        self.dropout = nn.Dropout(dropout)
        self.back = nn.Linear(expansion * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` -> ``(..., D)``."""
        value, gate = self.hidden(self.norm(x)).chunk(2, -1)
        update: Tensor = self.back(self.dropout(value * F.gelu(gate)))
        return x + update


def _square(dim: int, orthogonal: bool) -> nn.Module:
    linear = nn.Linear(dim, dim, bias=False)
    nn.init.orthogonal_(linear.weight)
    return orthogonal_(linear) if orthogonal else linear


def _mapped(linear: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):  # the exponential map needs float32
        weight: Tensor = linear.weight  # type: ignore[assignment]
    return F.linear(x, weight)
