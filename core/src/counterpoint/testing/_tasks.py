"""Checks of a task, on synthetic features: two well separated classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.parts import Task
from counterpoint.testing.compare import difference
from counterpoint.testing.registry import check, require, wrong
from counterpoint.testing.session import Session

CLASSES, PER_CLASS, WIDTH = 2, 18, 8


def material(seed: int) -> tuple[Tensor, Tensor]:
    """Features ``(36, 8)`` around two corners, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat(PER_CLASS)
    noise = 0.1 * torch.randn(len(labels), WIDTH, generator=generator)
    return torch.eye(WIDTH)[labels] + noise, labels


@check("tasks")
def loads(session: Session, name: str) -> None:
    """The target can be imported and is a `Task`."""
    part = session.plugin.tasks[name]
    cls = part.load()
    require(isinstance(cls, type) and issubclass(cls, Task), part.target, repr(cls), "a subclass of Task")


@check("tasks", after=("tasks/loads",))
def measures(session: Session, name: str) -> str:
    """After ``fit``, ``evaluate`` gives finite numbers under names, and ``predict`` answers many rows and one."""
    train, labels = material(0)
    task = session.task(name)
    fitted = task.fit(train, labels)
    require(isinstance(fitted, Task), "fit", type(fitted).__name__, "the task itself")
    metrics = fitted.evaluate(*material(1))
    require(isinstance(metrics, dict) and metrics, "evaluate", repr(metrics), "metric -> number")
    for metric, value in metrics.items():
        right = isinstance(metric, str) and isinstance(value, (int, float)) and math.isfinite(value)
        require(right, f"metric {metric!r}", repr(value), "a finite number under a name")
    for rows in (len(train), 1):
        require(fitted.predict(train[:rows]) is not None, f"predict of {rows} rows", "None", "an answer")
    return ", ".join(metrics)


@check("tasks", after=("tasks/measures",))
def repeats(session: Session, name: str) -> None:
    """Two tasks on the same features measure the same."""
    one, two = (session.task(name).fit(*material(0)).evaluate(*material(1)) for _ in range(2))
    where = difference(one, two)
    require(not where, "metrics, again", where, "the same numbers", "Draw what is random from a seed of its own.")


@check("tasks", after=("tasks/measures",))
def untouched(session: Session, name: str) -> None:
    """Features and labels are as they were."""
    train, test = material(0), material(1)
    task = session.task(name).fit(*train)
    task.predict(test[0])
    task.evaluate(*test)
    where = difference((train, test), (material(0), material(1)))
    require(not where, "features and labels, after use", where, "as they were")


@check("tasks", after=("tasks/loads",))
def errors(session: Session, name: str) -> None:
    """``predict`` before ``fit`` is refused by an error of `counterpoint.errors`."""
    try:
        session.task(name).predict(material(0)[0])
    except CounterpointError:
        return
    except Exception as error:
        wrong("predict before fit", f"{type(error).__name__}: {error}", "an error of counterpoint.errors")
    wrong("predict before fit", "no error", "an error that says: fit first")
