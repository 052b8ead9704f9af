"""BYOL's and SimSiam's objective: turn a prediction towards its target; no negatives."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from torch import Tensor

from counterpoint.errors import ShapeError, message
from counterpoint.objectives._inputs import check_choice, check_rows
from counterpoint.objectives._unit import unit_rows
from counterpoint.objectives.base import Objective, Reduction, Result

Normalisation = Literal["byol", "simsiam"]


def negative_cosine(predictions: Tensor, targets: Tensor, normalisation: Normalisation = "byol") -> Result:
    """Distance in angle of predictions from targets.

    ::

        cos_i = <p_i, t_i> / (|p_i| |t_i|)
        "byol":    L = mean_i (2 - 2 cos_i)  =  mean_i |p_i/|p_i| - t_i/|t_i||^2,   in [0, 4]
        "simsiam": L = mean_i (-cos_i),                                            in [-1, 1]

    The two differ by a factor of 2 in the gradient, which the learning rate must know about.

    Args:
        predictions: ``(B, D)``, any length; a row of zeros has cosine 0 and no gradient.
        targets: ``(B, D)``, any length; taken without gradient.
        normalisation: ``"byol"`` or ``"simsiam"``.

    Returns:
        loss, and the part ``cosine``: the mean cosine.

    Raises:
        ShapeError: shapes that differ, or that are not ``(B, D)``.
        ConfigError: an unknown normalisation.
    """
    _check_normalisation(normalisation)
    check_rows("predictions", predictions)
    check_rows("targets", targets)
    if predictions.shape != targets.shape:
        allowed = f"{tuple(predictions.shape)} as in predictions"
        raise ShapeError(message("targets", f"shape {tuple(targets.shape)}", allowed))
    cosine = (unit_rows(predictions) * unit_rows(targets.detach())).sum(dim=1).mean()
    loss = 2 - 2 * cosine if normalisation == "byol" else -cosine
    return Result(loss, {"cosine": cosine.detach()})


def _check_normalisation(name: str) -> None:
    check_choice("normalisation", name, get_args(Normalisation))


class NegativeCosine(Objective):
    """BYOL (``2 - 2 cos``) or SimSiam (``-cos``) of one direction; see `negative_cosine`.

    The method takes both directions: BYOL's paper *adds* them, SimSiam's *averages* them.

    There is no chance level: a constant encoder has the *lowest* loss of all (0 or -1), so collapse does not show here.
    Watch the embeddings' standard deviation and rank.

    Relations: the alignment half of InfoNCE without its uniformity half; what keeps it from collapsing is the
    predictor and the stopped gradient, not the objective.

    Args:
        normalisation: ``"byol"`` or ``"simsiam"``.

    Raises:
        ConfigError: an unknown normalisation.

    Over ranks: each sample's term stands alone, so the mean over ranks is right. Cost: ``O(B D)``. Sources: Grill et
    al. 2020 (BYOL), equation 2; Chen and He 2021 (SimSiam), equation 1.
    """

    reduction: ClassVar[Reduction] = "mean"

    def __init__(self, normalisation: Normalisation = "byol") -> None:
        super().__init__()
        _check_normalisation(normalisation)
        self.normalisation = normalisation

    def forward(self, predictions: Tensor, targets: Tensor) -> Result:
        """Loss of ``(B, D)`` predictions of ``(B, D)`` targets (without gradient)."""
        return negative_cosine(predictions, targets, self.normalisation)
