"""A fine-tuned run's head on disk: ``head/`` with safetensors weights and a JSON config, beside ``encoder/``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from counterpoint.errors import RunError, message
from counterpoint.files import write_text
from counterpoint.methods.finetune import FineTune
from counterpoint.nn.answers import ClassHead, NumberHead
from counterpoint.parts import Dataset
from counterpoint.training.embedding import Embedded
from counterpoint.training.encoder_files import CONFIG, FORMAT, WEIGHTS, load_weights, save_weights
from counterpoint.types import Damaged


@dataclass(frozen=True, slots=True)
class Head:
    """What answers.

    Attributes:
        module: features ``(B, dim)`` -> logits ``(B, classes)`` or numbers ``(B,)``.
        task: ``"classify"`` or ``"regress"``.
        classes: names of the classes; empty for numbers.
    """

    module: nn.Module
    task: str
    classes: list[str]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a head says of samples.

    Attributes:
        names: of the samples.
        answers: name of the likeliest class of each, or ``(N,)`` float32 numbers.
        probabilities: ``(N, classes)`` float32 in the order of ``classes``, or None for numbers.
        classes: names of the classes; empty for numbers.
        damaged: what could not be read.
    """

    names: list[str]
    answers: list[str] | np.ndarray
    probabilities: np.ndarray | None
    classes: list[str]
    damaged: list[Damaged]

    def table(self) -> pa.Table:
        """One row per sample: name, prediction, and the likeliest class's probability."""
        columns: dict[str, Any] = {"name": self.names, "prediction": self.answers}
        if self.probabilities is not None:
            columns["probability"] = self.probabilities.max(axis=1)
        return pa.table(columns)


@torch.no_grad()
def predictions(head: Head, found: Embedded, names: list[str]) -> Predictions:
    """What ``head`` says of embedded samples."""
    answers = head.module.cpu()(found.features)
    if head.task == "regress":
        return Predictions(names, answers.numpy(), None, [], found.damaged)
    likely = [head.classes[number] for number in answers.argmax(dim=1).tolist()]
    return Predictions(names, likely, answers.softmax(dim=1).numpy(), head.classes, found.damaged)


def save_head(folder: Path, method: FineTune, dataset: Dataset) -> None:
    """Write the head of ``method``, and what its answers are called."""
    classes: list[str] = []
    if isinstance(method.head, ClassHead):
        classes = dataset.classes or [str(number) for number in range(method.head.out_dim)]
    config = {"format": FORMAT, "task": method.task, "dim": method.encoder.dim, "classes": classes}
    save_weights(method.head, folder / WEIGHTS)
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def load_head(folder: Path) -> Head:
    """The head in ``folder``, in eval mode, without gradients.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    path = folder / CONFIG
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
        task, dim, classes = str(config["task"]), int(config["dim"]), [str(name) for name in config["classes"]]
    except OSError:
        raise RunError(
            f"{path}: there is no head here. A run has one when it is made by: counterpoint finetune"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: is no config of a head ({type(error).__name__}: {error})") from None
    if task not in ("classify", "regress"):
        raise RunError(message(f"{path}: task", repr(task), "classify, regress"))
    module: nn.Module = ClassHead(dim, len(classes)) if task == "classify" else NumberHead(dim)
    load_weights(module, folder / WEIGHTS)
    return Head(module.eval().requires_grad_(False), task, classes)
