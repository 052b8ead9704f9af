"""What likely causes a trouble and the one thing to try first, by the trouble, the method and the numbers."""

from __future__ import annotations

from collections.abc import Mapping

Advice = tuple[str, str]
"""Likely cause, remedy: parts of a sentence, without its full stop."""

LOWER = "lower optimization.lr by a factor of 3"
RAISE = "raise optimization.lr by a factor of 3"
LOOK = "look at one batch of views side by side, row by row"
MOMENTUM = "raise the target's momentum (0.996)"
EPSILON = "lower epsilon (0.03)"
DRAWING_TOGETHER = 0.02
"""Rise of the mean cosine of different samples from one fifth of the run to the next."""
STILL_FALLING = 0.01
"""Of the loss, from one fifth of the run to the next."""

_COLLAPSED: dict[str, Advice] = {
    "byol": ("the target follows the online network too closely, so that the two agree on a constant", MOMENTUM),
    "simsiam": ("the learning rate is too high for the predictor, or the heads lack batch norm", LOWER),
    "dino": ("the teacher's centring and sharpening are out of balance", "set the teacher's temperature to 0.04"),
    "swav": ("all samples get the same prototypes", EPSILON),
    "vicreg": ("the variance term is too weak against the invariance term", "raise the weight of the variance term"),
    "barlowtwins": ("the learning rate is too high, or the batch too small for its statistics", LOWER),
}
_LOW_RANK: dict[str, Advice] = {
    "vicreg": ("the covariance term is too weak", "raise the weight of the covariance term"),
    "barlowtwins": ("the redundancy term is too weak", "raise the weight of the off-diagonal terms"),
    "swav": ("most prototypes are not used", EPSILON),
    "dino": ("the teacher's targets are too sharp", "raise the teacher's temperature (0.07)"),
    "byol": ("the momentum is too low, or the learning rate too high", MOMENTUM),
    "simsiam": ("the learning rate is too high for the predictor", LOWER),
}
_AT_CHANCE: dict[str, Advice] = {
    "swav": ("every sample's code is uniform over the prototypes", EPSILON),
    "dino": ("the teacher's targets are uniform", "lower the teacher's temperature (0.04)"),
}


def advice(state: str, method: str | None, numbers: Mapping[str, float]) -> Advice:
    """Likely cause and remedy; both empty where a state needs none.

    Args:
        state: a verdict's.
        method: name of the method or its class, any case.
        numbers: the verdict's.
    """
    name = "".join(letter for letter in (method or "").lower() if letter.isalnum())
    if state == "diverged":
        return "the learning rate is too high", "lower optimization.lr by a factor of 10"
    if state == "collapsed":
        return _COLLAPSED.get(name) or _collapsed(numbers)
    if state == "at chance":
        return _at_chance(name, numbers)
    if state == "dimensional collapse":
        return _LOW_RANK.get(name) or _low_rank(numbers)
    if state == "not better than untrained":
        return _drawing_together(name, numbers) or _not_better(numbers)
    return "", ""


def _collapsed(numbers: Mapping[str, float]) -> Advice:
    if (
        "chance" in numbers
    ):  # negatives push apart, so that equal embeddings are the best only where positives are random
        return "views of one sample have nothing in common (wrongly paired?), or the learning rate is too high", LOOK
    return "nothing in the objective holds the embeddings apart, or the learning rate is too high", LOWER


def _at_chance(name: str, numbers: Mapping[str, float]) -> Advice:
    if numbers.get("highest learning rate") == 0:
        return "the learning rate is 0", "set optimization.lr above 0"
    if numbers.get("gradient") == 0:
        return "no gradient reaches the weights", "look for frozen or detached parts in the encoder and the heads"
    if numbers.get("duplicates", 0) > 0.5:
        return f"{numbers['duplicates']:.0%} of a batch are duplicates", "remove repeated samples from the data"
    if name in _AT_CHANCE:
        return _AT_CHANCE[name]
    if numbers.get("positive", 1) - numbers.get("negative", 0) < 0.01:
        return "views of one sample have nothing in common: wrongly paired, or augmented too strongly", LOOK
    return "the learning rate is too low, or the temperature too high", RAISE


def _low_rank(numbers: Mapping[str, float]) -> Advice:
    if "chance" in numbers:
        return (
            "negatives hardly push apart what is close already, or a layer is too narrow",
            "lower the temperature (0.1)",
        )
    return "the predictor or the target lags behind the encoder", LOWER


def _drawing_together(name: str, numbers: Mapping[str, float]) -> Advice | None:
    """Without negatives a falling loss proves nothing while different samples score ever higher."""
    if "chance" in numbers or numbers.get("negative", 0) - numbers.get("negative before", 0) < DRAWING_TOGETHER:
        return None
    remedy = (_COLLAPSED.get(name) or _collapsed(numbers))[1]
    return "different samples are embedded ever closer together, on the way to collapse", remedy


def _not_better(numbers: Mapping[str, float]) -> Advice:
    if numbers.get("positive", 0) > 0.9:
        cause = "the views share a shortcut (a background, a colour, a mark) that has nothing to do with the classes"
        return cause, "strengthen the augmentation (smaller crops, more colour)"
    before = numbers.get("loss before", 0)
    if numbers.get("loss", 0) < before - STILL_FALLING * abs(before):
        return "training is too short: the loss still falls", "train for more epochs"
    return (
        "the views wipe out what tells the classes apart",
        "weaken the augmentation (larger crops, less colour)",
    )
