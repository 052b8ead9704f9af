"""Gates: which dimensions of the embeddings two classes are compared in. `counterpoint.nn` has them too."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError, message, unknown

GateKind = Literal["sigmoid", "product", "gumbel", "stochastic", "open"]
_SPREAD = 0.5  # of the stochastic gate's noise, as released


class PairGate(nn.Module):
    """A gate for each unordered pair of classes: ``(N,)`` and ``(N,)`` classes -> ``(N, dim)`` in [0, 1].

    An embedding ``E`` of each class and a small network ``f``, ReLU - BatchNorm - Linear twice::

        "sigmoid"     sigmoid(f((E[a] + E[b]) / 2))
        "product"     sigmoid(f(E[a])) * sigmoid(f(E[b])): a gate of each class
        "gumbel"      sigmoid(f(mean) + logistic noise), without noise in evaluation
        "stochastic"  clamp(f(mean) + 0.5 + normal noise of 0.5, 0, 1), likewise: it closes and opens all the way
        "open"        1: nothing is filtered (the control), and nothing is learnt

    Args:
        classes: how many there are, 2 or more.
        dim: width of the embeddings that are gated.
        embedding: width of the embeddings of classes (paper: 512).
        hidden: width of the network's middle (paper: 1024).
        kind: see above.
        norm: BatchNorm in the network. Its statistics are those of the batch's pairs, on CPUs of each process.

    Raises:
        ConfigError: fewer than 2 classes, a width below 1, or an unknown kind.

    Source: "Rethinking Positive Pairs in Contrastive Learning" (arXiv 2410.18200) and its authors' released code.
    """

    def __init__(
        self,
        classes: int,
        dim: int = 128,
        embedding: int = 64,
        hidden: int = 128,
        kind: GateKind = "sigmoid",
        norm: bool = True,
    ) -> None:
        super().__init__()
        for name, value, least in (("classes", classes, 2), ("dim", dim, 1), ("hidden", hidden, 1)):
            if value < least:
                raise ConfigError(message(f"PairGate.{name}", value, f"a whole number from {least}"))
        if embedding < 1:
            raise ConfigError(message("PairGate.embedding", embedding, "a whole number from 1"))
        known = get_args(GateKind)
        if kind not in known:
            raise ConfigError(unknown("PairGate.kind", kind, known))
        self.classes, self.dim, self.kind = classes, dim, kind
        if kind == "open":
            return
        self.labels = nn.Embedding(classes, embedding)
        parts: list[nn.Module] = []
        for width, out in ((embedding, hidden), (hidden, dim)):
            parts += [nn.ReLU(), *([nn.BatchNorm1d(width)] if norm else []), nn.Linear(width, out)]
        self.network = nn.Sequential(*parts)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Gates of pairs of classes, the same for both orders.

        Raises:
            ShapeError: not two lists of equal length, or a class out of range.
        """
        if first.dim() != 1 or first.shape != second.shape:
            found = f"{tuple(first.shape)} and {tuple(second.shape)}"
            raise ShapeError(message("classes of a pair", found, "(N,) and (N,)"))
        for name in map(int, torch.aminmax(torch.cat([first, second]))) if len(first) else ():
            if not 0 <= name < self.classes:
                todo = "Set classes to the number of classes in the data."
                raise ShapeError(message("class", name, f"from 0 to {self.classes - 1}", todo))
        if self.kind == "open":
            return torch.ones(len(first), self.dim, device=first.device)
        if self.kind == "product":
            one, other = self.network(self.labels(torch.cat([first, second]))).sigmoid().chunk(2)
            product: Tensor = one * other
            return product
        return self._opened(self.network((self.labels(first) + self.labels(second)) / 2))

    def _opened(self, scores: Tensor) -> Tensor:
        """From the network's scores to gates; noise is drawn from torch's global generator."""
        if self.kind == "stochastic":
            noise = _SPREAD * torch.randn_like(scores) if self.training else 0.0
            return (scores + 0.5 + noise).clamp(0.0, 1.0)
        if self.kind == "gumbel" and self.training:
            uniform = torch.rand_like(scores).clamp(1e-6, 1.0 - 1e-6)
            scores = scores + uniform.logit()
        return scores.sigmoid()
