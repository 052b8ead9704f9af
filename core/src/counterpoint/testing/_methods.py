"""Checks of every method, the core's and the plugin's own, on the plugin's data, views and encoder."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable

import torch

from counterpoint.errors import ShapeError
from counterpoint.methods.base import Method
from counterpoint.parts import Views
from counterpoint.testing.compare import difference
from counterpoint.testing.registry import check, require, wrong
from counterpoint.testing.session import ROWS, Session
from counterpoint.training import config as configs
from counterpoint.training.contrasted import two_kinds
from counterpoint.types import Batch, Step

FEW, OVERFIT = 4, 20
BASE = ("datasets/batches", "views/seeded", "encoders/encodings", "encoders/gradients")


class Trial:
    """A method of the plugin with its optimiser, and steps that are a function of their number alone.

    Args:
        session: of the plugin.
        name: of the method.
        total: length of the training.
        seed: of the weights.
        lr: AdamW's.
    """

    def __init__(self, session: Session, name: str, total: int = FEW, seed: int = 0, lr: float = 1e-3) -> None:
        self.session, self.name = session, name
        config = session.configuration(name)
        torch.manual_seed(seed)
        built = configs.instantiate(config)
        self.method: Method = built.method.train()
        self.method.total_steps = total
        self.views: Views = built.views
        self.rows: Callable[[int], Batch] = session.batch
        if self.method.contrasted:
            self.rows = lambda count: two_kinds(session.batch(count))
        self.optimizer = torch.optim.AdamW(self.method.parameter_groups(), lr=lr, weight_decay=1e-4)

    def step(self, number: int, rows: int = ROWS) -> Step:
        """One step."""
        torch.manual_seed(100 + number)  # dropout
        batch = self.rows(rows)
        step: Step = self.method(self.views(batch, torch.Generator().manual_seed(number)), batch)
        torch.autograd.backward(step.loss)
        self.method.after_backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step()
        return step


@check("methods")
def loads(session: Session, name: str) -> None:
    """The target can be imported, is a `Method`, and needs what is listed."""
    part = session.methods[name]
    cls = part.load()
    require(isinstance(cls, type) and issubclass(cls, Method), part.target, repr(cls), "a subclass of Method")
    listed = ", ".join(sorted(part.capabilities)) or "none"
    require(cls.needs == part.capabilities, "needs", ", ".join(sorted(cls.needs)) or "none", f"{listed}, as listed")


@check("methods", after=("methods/loads", "plugin/recipes", "datasets/opens", "views/loads", "encoders/loads"))
def configures(session: Session, name: str) -> None:
    """The recipe parses, and its complete configuration, fed back, is the same configuration."""
    config = session.configuration(name)
    text = configs.dump(config)
    path = session.folder(f"configs/{name}") / "config.yaml"
    path.write_text(text, encoding="utf-8")
    again = configs.dump(configs.parse(["--config", str(path)]))
    require(again == text, "the configuration, fed back", "another configuration", "the same")


@check("methods", after=("methods/configures", *BASE))
def steps(session: Session, name: str) -> str:
    """A step gives a finite scalar, a gradient for everything that is trained, and moves the encoder."""
    trial = Trial(session, name)
    before = copy.deepcopy(trial.method.encoder.state_dict())
    torch.manual_seed(0)
    batch = trial.rows(ROWS)
    step = trial.method(trial.views(batch, torch.Generator().manual_seed(0)), batch)
    require(step.loss.shape == () and torch.isfinite(step.loss), "loss", step.loss.detach(), "a finite scalar")
    torch.autograd.backward(step.loss)
    idle = [key for key, value in trial.method.named_parameters() if value.requires_grad and value.grad is None]
    require(not idle, "parameters without a gradient", ", ".join(idle[:5]), "none")
    trial.optimizer.step()
    moved = difference(dict(trial.method.encoder.state_dict()), dict(before))
    require(moved, "the encoder's weights after a step", "as before", "changed")
    return f"loss {float(step.loss.detach()):.3g}"


@check("methods", after=("methods/steps",))
def overfits(session: Session, name: str) -> str:
    """The loss falls, against its chance level, when a tiny batch is learnt by heart."""
    trial = Trial(session, name, total=OVERFIT, lr=3e-3)
    curve = [_excess(trial.step(0)) for _ in range(OVERFIT)]
    require(all(map(math.isfinite, curve)), "loss", f"{curve[-1]}", "finite values")
    top, last = max(curve), sum(curve[-3:]) / 3
    told = f"{top:.3g} to {last:.3g} in {OVERFIT} steps"
    require(last < top - 0.02 * max(abs(top), 0.1), "loss against chance", told, "a loss that falls")
    return told


def _excess(step: Step) -> float:
    """What learning can lessen: the loss over its chance level, which rises while a queue of negatives fills.

    A distillation loss holds the teacher's own entropy, which rises while it is being centred; where the method tells
    the divergence, that is what the student can lessen.
    """
    if "kl" in step.parts:
        return float(step.parts["kl"])
    return float(step.loss.detach()) - (step.chance or 0.0)


@check("methods", after=("methods/steps", "encoders/saves"))
def resumes(session: Session, name: str) -> None:
    """A training that was saved and continued by a new object is, bit by bit, the one that never stopped."""
    whole, saved = Trial(session, name), io.BytesIO()
    for number in range(FEW):
        if number == FEW // 2:
            torch.save({"method": whole.method.state_dict(), "optimizer": whole.optimizer.state_dict()}, saved)
        whole.step(number)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    again = Trial(session, name, seed=1)
    again.method.load_state_dict(state["method"])
    again.optimizer.load_state_dict(state["optimizer"])
    for number in range(FEW // 2, FEW):
        again.step(number)
    where = difference(dict(again.method.state_dict()), dict(whole.method.state_dict()))
    todo = "Whatever changes after a step belongs in a buffer."
    require(not where, "weights after a resume", where, "those without interruption", todo)


@check("methods", after=("methods/steps",))
def uneven(session: Session, name: str) -> None:
    """Batches of unequal size follow each other."""
    trial = Trial(session, name)
    for number, size in enumerate((ROWS, ROWS - 3, ROWS)):
        loss = trial.step(number, size).loss
        require(torch.isfinite(loss), f"loss of a batch of {size}", loss.detach(), "a finite scalar")


@check("methods", after=("methods/steps", "views/sizes"))
def single(session: Session, name: str) -> None:
    """A batch of one is refused by an error that says how many it found."""
    trial = Trial(session, name)
    trial.method.eval()  # batch statistics of one row are another matter
    batch = trial.rows(1)
    try:
        trial.method(trial.views(batch, torch.Generator()), batch)
    except ShapeError as error:
        require("1 sample" in str(error), "the error's text", f"{error}", "a text that says 1 sample(s)")
        return
    except Exception as error:
        wrong("a batch of one", f"{type(error).__name__}: {error}", "a ShapeError")
    wrong("a batch of one", "no error", "a ShapeError: samples are compared with each other")
