"""SwAV's swapped prediction: foresee one view's prototype assignment from another view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.objectives._inputs import check_above, check_count, check_temperature, check_views, full_precision
from counterpoint.objectives._logsumexp import LOG2E
from counterpoint.objectives._sums import rows_over_ranks, sum_over_ranks
from counterpoint.objectives._swap import swap
from counterpoint.objectives.base import Objective, Parts, Reduction, Result
from counterpoint.objectives.sinkhorn import sinkhorn


def swapped_prediction(scores: Sequence[Tensor], codes: Sequence[Tensor], temperature: float = 0.1) -> Result:
    """Cross-entropy of every view's prediction with every *other* assigning view's code.

    With ``A`` codes and ``V`` views::

        L = 1/A sum_a  1/(V-1) sum_{v != a}  -1/B sum_i sum_k codes[a][i, k] log softmax(scores[v][i] / temperature)_k

    Args:
        scores: ``V >= 2`` tensors ``(B, K)``, similarities to the prototypes; assigning views first.
        codes: ``A <= V`` tensors ``(B, K)`` whose rows sum to 1, e.g. from `sinkhorn`; taken without gradient.
        temperature: above 0; SwAV 0.1.

    Returns:
        loss, and the part ``code_perplexity``: the exponential of the entropy of the average code over all ranks,
        from 1 (one prototype takes everything) to ``K`` (all are used equally).

    Raises:
        ShapeError: views or codes whose shapes do not fit.
        ConfigError: ``temperature <= 0``.
    """
    check_views("scores", scores)
    check_views("codes", codes, least=1)
    check_temperature(temperature)
    if codes[0].shape != scores[0].shape or len(codes) > len(scores):
        found = f"{len(codes)} of shape {tuple(codes[0].shape)}"
        raise ShapeError(message("codes", found, f"up to {len(scores)} of shape {tuple(scores[0].shape)}"))
    targets = [full_precision(code.detach()) for code in codes]
    terms = []
    for number, view in enumerate(scores):
        # One product for all the codes that this view has to foresee: the loss is linear in them.
        others = [code for a, code in enumerate(targets) if a != number]
        if others:
            wanted = others[0] if len(others) == 1 else torch.stack(others).sum(dim=0)
            terms.append(_Foreseen.apply(full_precision(view), wanted, temperature))
    loss = torch.stack(terms).sum() / (len(codes) * (len(scores) - 1))
    return Result(loss, {"code_perplexity": _perplexity(targets)})


class _Foreseen(torch.autograd.Function):
    """Mean over rows of ``-sum_k q_k log softmax(scores / temperature)_k``, its gradient written down on the way."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        wanted = wanted.to(scores.dtype)
        most = scores.amax(dim=1, keepdim=True)
        powers = (scores - most).mul_(LOG2E / temperature).exp2_()  # the one matrix that is made, up to the gradient
        sums = powers.sum(dim=1, keepdim=True)
        totals = wanted.sum(dim=1, keepdim=True)  # 1 for one code, more where several are foreseen
        level = sums.log() + most / temperature
        value = ((totals * level).sum() - torch.dot(scores.reshape(-1), wanted.reshape(-1)) / temperature) / len(scores)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(powers.mul_(totals / sums).sub_(wanted))
            ctx.unit = 1.0 / (temperature * len(scores))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return slope * (grad * ctx.unit), None, None


def _perplexity(codes: Sequence[Tensor]) -> Tensor:
    """Effective number of prototypes in use by ``(B, K)`` codes, over all ranks."""
    return _effective(sum_over_ranks(torch.stack([code.sum(dim=0) for code in codes]).sum(dim=0)))


def _effective(usage: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(usage / usage.sum()).sum()
    return entropy.exp()


class SwappedPrediction(Objective):
    """SwAV: codes of the first views by `sinkhorn`, foreseen by all the other views (`swapped_prediction`).

    Codes carry no gradient; the prototypes learn through the predictions only. Over ranks, the codes balance the whole
    batch; predictions are each sample's own.

    Relations: with hard codes this is DeepCluster's classification, done online; the prototypes replace the negatives
    of InfoNCE, so that cost grows with ``B * K`` and not ``B * B``; DINO centres and sharpens instead of balancing.

    Args:
        temperature: of the predictions, above 0.
        epsilon: of the codes, above 0. Loss stuck at ``ln K``: lower it to 0.03.
        iterations: of Sinkhorn, at least 1.

    Raises:
        ConfigError: a setting out of its range.

    Source: Caron et al. 2020, Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, eq. 1-2.
    """

    reduction: ClassVar[Reduction] = "gather"

    def __init__(self, temperature: float = 0.1, epsilon: float = 0.05, iterations: int = 3) -> None:
        super().__init__()
        check_temperature(temperature)
        check_above("epsilon", epsilon)
        check_count("iterations", iterations, 1)
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations
        self._prototypes: int | None = None

    def forward(
        self, scores: Sequence[Tensor], assign: int = 2, queue_scores: Sequence[Tensor] | None = None
    ) -> Result:
        """Loss of ``V`` views.

        Args:
            scores: ``V >= 2`` tensors ``(B, K)``, cosines to the prototypes; the large crops first.
            assign: how many of the first views give codes, 1 to ``V``.
            queue_scores: for each assigning view ``(M, K)`` scores of earlier embeddings, ``M >= 0``. They share in the
                balancing of the codes and in nothing else: no gradient, no term of the loss.

        Raises:
            ShapeError: shapes that do not fit, or ranks with unequal batches.
            ConfigError: ``assign`` out of its range.
        """
        check_views("scores", scores)
        if not isinstance(assign, int) or not 1 <= assign <= len(scores):
            raise ConfigError(message("assign", assign, f"1 to {len(scores)}, the number of views"))
        rows_over_ranks(scores[0])
        if self._prototypes != scores[0].shape[1]:  # a module's attributes are dear to set
            self._prototypes = scores[0].shape[1]
        short = swap(scores, assign, self.temperature, self.epsilon, self.iterations) if queue_scores is None else None
        if short is not None:
            return Result(short.loss, Parts(lambda: {"code_perplexity": _effective(short.usage)}))
        return swapped_prediction(scores, self.codes(scores[:assign], queue_scores), self.temperature)

    def codes(self, scores: Sequence[Tensor], queue_scores: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Codes ``(B, K)`` of each view of ``scores``, balanced together with its part of ``queue_scores``."""
        if queue_scores is None:
            return [sinkhorn(view, self.epsilon, self.iterations) for view in scores]
        if len(queue_scores) != len(scores):
            todo = "Keep one queue per assigning view."
            raise ShapeError(message("queue_scores", f"{len(queue_scores)} queue(s)", len(scores), todo))
        return [self._queued(number, view, queue_scores[number]) for number, view in enumerate(scores)]

    def _queued(self, number: int, view: Tensor, queue: Tensor) -> Tensor:
        if queue.dim() != 2 or queue.shape[1] != view.shape[1]:
            found = f"shape {tuple(queue.shape)}"
            raise ShapeError(message(f"queue_scores[{number}]", found, f"(M, {view.shape[1]}), M >= 0"))
        rows = torch.cat([full_precision(queue), full_precision(view)])
        return sinkhorn(rows, self.epsilon, self.iterations)[queue.shape[0] :]

    def chance(self, batch_size: int) -> float | None:
        """``ln K``: codes and predictions uniform, as with a constant encoder. None before the first batch showed K."""
        return None if self._prototypes is None else math.log(self._prototypes)
