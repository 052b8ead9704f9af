"""Heads: what stands between an encoding and the embedding that an objective compares."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from counterpoint.errors import ConfigError, message


class Projector(nn.Module):
    """Multi-layer projector: ``(B, in_dim)`` -> ``(B, out_dim)``, not normalised (objectives do that).

    Linear-BatchNorm-ReLU ``layers - 1`` times, then Linear. SimCLR: 2 layers, 2048 -> 128; SimSiam and BYOL: 3 and 2
    layers, 2048 and 4096 hidden; Barlow Twins and VICReg: 3 layers, 8192 everywhere. The defaults suit encoders of
    128-512 dimensions.

    Args:
        in_dim: width of the encoding.
        hidden_dim: width of the hidden layers.
        out_dim: width of the embedding.
        layers: linear layers; 1 is a plain linear map.
        norm: BatchNorm after the hidden layers.
        last_norm: BatchNorm without affine parameters after the last layer (SimSiam, MoCo v3).

    Raises:
        ConfigError: a width or a number of layers below 1.
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int = 512,
        out_dim: int = 128,
        layers: int = 2,
        norm: bool = True,
        last_norm: bool = False,
    ) -> None:
        super().__init__()
        _check(self, in_dim=in_dim, hidden_dim=hidden_dim, out_dim=out_dim, layers=layers)
        parts: list[nn.Module] = []
        width = in_dim
        for _ in range(layers - 1):
            parts.append(nn.Linear(width, hidden_dim, bias=not norm))
            parts += [nn.BatchNorm1d(hidden_dim)] if norm else []
            parts.append(nn.ReLU(inplace=True))
            width = hidden_dim
        parts.append(nn.Linear(width, out_dim, bias=not last_norm))
        parts += [nn.BatchNorm1d(out_dim, affine=False)] if last_norm else []
        self.layers = nn.Sequential(*parts)
        self.out_dim = out_dim

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_dim)`` -> ``(B, out_dim)``."""
        embeddings: Tensor = self.layers(x)
        return embeddings


class Predictor(Projector):
    """BYOL's and SimSiam's predictor: a two-layer bottleneck that maps one view's embedding to the other's.

    Args:
        in_dim: width of the embedding; the output has the same.
        hidden_dim: width of the bottleneck (SimSiam: a quarter of ``in_dim``; BYOL: 4096).

    Raises:
        ConfigError: a width below 1.
    """

    def __init__(self, in_dim: int, hidden_dim: int = 512) -> None:
        super().__init__(in_dim, hidden_dim, in_dim, layers=2)


class DINOHead(nn.Module):
    """DINO's head: MLP with GELU, L2 norm, then a weight-normed linear layer to ``prototypes`` logits.

    The last layer's rows have length 1 throughout (the released code freezes the gain).

    Args:
        in_dim: width of the encoding.
        prototypes: width of the output (paper: 65,536).
        hidden_dim: width of the MLP (paper: 2048).
        bottleneck_dim: width before the last layer (paper: 256).
        norm: BatchNorm after the hidden layers (the paper has none). Without it a fresh small encoder's outputs are all
            alike, the centred teacher is uniform, and hundreds of steps pass before it has anything to say.

    Raises:
        ConfigError: a width below 1.

    Source: Caron et al. 2021 (arXiv 2104.14294), appendix C.
    """

    def __init__(
        self, in_dim: int, prototypes: int = 256, hidden_dim: int = 512, bottleneck_dim: int = 128, norm: bool = True
    ) -> None:
        super().__init__()
        _check(self, in_dim=in_dim, prototypes=prototypes, hidden_dim=hidden_dim, bottleneck_dim=bottleneck_dim)
        parts: list[nn.Module] = []
        for width in (in_dim, hidden_dim):
            parts.append(nn.Linear(width, hidden_dim, bias=not norm))
            parts += [nn.BatchNorm1d(hidden_dim)] if norm else []
            parts.append(nn.GELU())
        self.mlp = nn.Sequential(*parts, nn.Linear(hidden_dim, bottleneck_dim))
        self.last = weight_norm(nn.Linear(bottleneck_dim, prototypes, bias=False))
        gain = self.last.parametrizations.weight.original0
        gain.data.fill_(1.0)
        gain.requires_grad = False
        self.out_dim = prototypes

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_dim)`` -> logits ``(B, prototypes)``, cosines in [-1, 1]."""
        logits: Tensor = self.last(F.normalize(self.mlp(x), dim=-1))
        return logits

    def freeze_last(self) -> None:
        """Drop the last layer's gradient of this step, so that no optimiser moves it."""
        for parameter in self.last.parameters():
            parameter.grad = None


def _check(module: nn.Module, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ConfigError(message(f"{type(module).__name__}.{name}", value, "a whole number from 1"))
