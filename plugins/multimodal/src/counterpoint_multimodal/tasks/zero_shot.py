"""Classes by prompts: what a picture shows, of things that are only named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.errors import ConfigError, DataError, ShapeError, message
from counterpoint.evaluation import _check
from counterpoint.evaluation.stats import balanced_accuracy
from counterpoint.parts import Encoder, Task, Views
from counterpoint.run import Run
from counterpoint_multimodal.embedding import GLOBAL, embed_texts

TEMPLATES = ("{}", "a {}", "a photo of a {}", "a picture of a {}", "this is a {}")
"""Prompts that most captions are like, the bare name among them: a small encoder has seen few sentences."""
KS = (1, 5)
_IMBALANCED = 1.5


def prompts(classes: Sequence[str], templates: Sequence[str] = TEMPLATES) -> tuple[list[str], Tensor]:
    """Every template filled with every class's name.

    Args:
        classes: names; underscores are read as spaces.
        templates: with one ``{}`` each.

    Returns:
        the texts, class by class, and the class of each, ``(C * T,)``.

    Raises:
        ConfigError: no template, or one without ``{}``.
        DataError: no class, an empty name, or one that is there twice.
    """
    wrong = [template for template in templates if template.count("{}") != 1]
    if not templates or wrong:
        raise ConfigError(
            message("templates", repr(wrong[0]) if wrong else "none", 'each with one {}, "a photo of a {}"')
        )
    names = [" ".join(name.replace("_", " ").split()) for name in classes]
    if not all(names) or not names:
        raise DataError(message("classes", "an empty name" if names else "none", "names"))
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(message("classes", f"{twice[0]!r} twice", "each once"))
    texts = [template.replace("{}", name) for name in names for template in templates]
    return texts, torch.arange(len(names)).repeat_interleave(len(templates))


class ZeroShot(Task):
    """Classification without a label: a class is the mean of its prompts' directions, and the nearest class wins.

    ::

        task = ZeroShot.of_run("runs/shop", ["a shoe", "a shirt", "a watch"])
        task.predict(cp.load("runs/shop").embed_images(...))

    Args:
        ks: ranks of ``zero_shot@k``.

    Raises:
        ConfigError: a rank below 1.

    Source: Radford et al. 2021, section 3.1.4 (prompt ensembling).
    """

    def __init__(self, ks: Sequence[int] = KS) -> None:
        for k in ks:
            _check.at_least("ks", k)
        self.ks = tuple(ks)
        self._vectors: Tensor | None = None

    @classmethod
    def of_run(cls, run: str | Path | Run, classes: Sequence[str], templates: Sequence[str] = TEMPLATES) -> ZeroShot:
        """The classes as a trained run reads their names.

        Args:
            run: finished run of the multimodal plugin, or its directory.
            classes: names.
            templates: with one ``{}`` each.

        Raises:
            RunError: no run, or an unfinished one.
            ConfigError: a template without ``{}``.
            DataError: no class, or one twice.
        """
        run = run if isinstance(run, Run) else Run(run)
        return cls().fit_classes(run.encoder, run.views, classes, templates)

    def fit_classes(
        self,
        encoder: Encoder,
        views: Views,
        classes: Sequence[str],
        templates: Sequence[str] = TEMPLATES,
        role: str = GLOBAL,
    ) -> ZeroShot:
        """Encode the prompts of ``classes`` and take them; errors are those of `prompts`."""
        texts, labels = prompts(classes, templates)
        return self.fit(embed_texts(encoder, views, texts, role), labels)

    def fit(self, features: Tensor, labels: Tensor | None = None) -> ZeroShot:
        """Take ``(P, D)`` embeddings of prompts, and the class of each, ``(P,)``; -1 leaves one out.

        Raises:
            ShapeError: no labels, or a class below the largest without a prompt.
        """
        if labels is None:
            raise ShapeError(message("labels", "none", "the class of each prompt"))
        x = _check.features("features", features, dtype=torch.float32)
        x, y = _check.known(x, _check.labels("labels", labels, len(x)))
        counts = torch.bincount(y)
        if not len(counts) or not counts.all():
            found = f"no prompt of class {int((counts == 0).nonzero()[0])}" if len(counts) else "no prompt"
            raise ShapeError(message("labels", found, "one prompt of each class at least"))
        summed = x.new_zeros(len(counts), x.shape[1]).index_add_(0, y.to(x.device), normalize(x, dim=1))
        self._vectors = normalize(summed, dim=1)
        return self

    @property
    def vectors(self) -> Tensor:
        """``(C, D)`` directions of the classes, of length 1.

        Raises:
            ConfigError: nothing was fitted.
        """
        if self._vectors is None:
            raise ConfigError(message("ZeroShot", "no classes yet", "fit before predict", "Call fit or fit_classes."))
        return self._vectors

    def scores(self, features: Tensor) -> Tensor:
        """Cosines ``(M, C)`` of ``(M, D)`` embeddings of pictures and the classes."""
        x = _check.features("features", features, dim=self.vectors.shape[1], dtype=torch.float32)
        return normalize(x, dim=1) @ self.vectors.T

    def predict(self, features: Tensor) -> Tensor:
        """Class ``(M,)`` of each picture."""
        return self.scores(features).argmax(dim=1)

    def evaluate(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        """Accuracies of ``(M, D)`` pictures with classes ``(M,)``, see `top_accuracies`."""
        return top_accuracies(self.scores(features), labels, self.ks)


def top_accuracies(scores: Tensor, labels: Tensor, ks: Sequence[int] = KS) -> dict[str, float]:
    """How often the right class is among the ``k`` best.

    Args:
        scores: ``(M, C)``.
        labels: ``(M,)``; rows with -1 do not count.
        ks: ranks; those above 1 from the number of classes on, where everything is right, are left out.

    Returns:
        ``zero_shot@1``, ``zero_shot@5``; where the classes that occur differ in size by half or more also
        ``zero_shot@1,balanced``, the mean over classes.

    Raises:
        ShapeError: no row whose class is known, or a class that is not below C.
    """
    known, y = _check.known(scores, _check.labels("labels", labels, len(scores)))
    _check.rows("labels", known, 1, "Only rows with a known class are measured.")
    if int(y.max()) >= scores.shape[1]:
        raise ShapeError(message("labels", f"class {int(y.max())}", f"below {scores.shape[1]}, the number of classes"))
    found = {}
    for k in ks:
        if k == 1 or k < scores.shape[1]:
            best = known.topk(k, dim=1).indices
            found[f"zero_shot@{k}"] = float((best == y[:, None]).any(dim=1).double().mean())
    sizes = torch.unique(y, return_counts=True)[1]
    if 1 in ks and int(sizes.max()) > _IMBALANCED * int(sizes.min()):
        found["zero_shot@1,balanced"] = balanced_accuracy(known.argmax(dim=1), y)
    return found
