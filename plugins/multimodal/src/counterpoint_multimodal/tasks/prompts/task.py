"""Classes from a few labelled images, by prompts learnt for a frozen image-text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from counterpoint.errors import ConfigError, Interrupted, ShapeError, message, nearest
from counterpoint.parts import Encoder, Task, Views
from counterpoint.training.encoder_files import load_weights
from counterpoint_multimodal.tasks.prompts import kept
from counterpoint_multimodal.tasks.prompts.learners import LEARNERS, PromptLearner
from counterpoint_multimodal.tasks.prompts.losses import prompt_logits
from counterpoint_multimodal.tasks.prompts.seen import look
from counterpoint_multimodal.tasks.prompts.text import ClassPrompts
from counterpoint_multimodal.tasks.prompts.training import Schedule, Training
from counterpoint_multimodal.tasks.prompts.views import Images, PromptViews, batch_of

PHRASE = "a photo of a"


class PromptClasses(Task):
    """Learns the words before a class's name; the encoder stays as it is, to the bit.

    ::

        run = cp.load("runs/pairs")
        task = PromptClasses(run.encoder, run.views, ["cat", "dog"]).fit(images, labels)
        task.predict(others)                            # positions in ["cat", "dog"]
        task.predict(others, ["horse", "cow", "hen"])   # classes that were never learnt
        task.save("runs/pairs/prompts")

    Images are raw: uint8 ``(N, 3, H, W)``, or a list of ``(3, H, W)`` where sizes differ.

    Args:
        encoder: image and text tower in one space (`TwoTowers`, `CLIPTowers`); it is frozen here, in place.
        views: whose ``plain`` the encoder was measured with.
        classes: names of the classes that `fit` is given labels of.
        method: ``"gopro"``, ``"cocoop"`` or ``"coop"``.
        options: further arguments of the method's learner, e.g. ``{"ce_on_projected": True}``.
        context: phrase that training starts from; its tokens are replaced.
        augment: further arguments of `PromptViews`, e.g. ``{"scale": (0.5, 1.0)}``.
        chunk: prompts through the text tower at once.
        progress: show a bar (on standard error) while fitting.
        **schedule: of `Schedule`: ``epochs``, ``batch_size``, ``lr``, ``temperature``, ``seed``, …

    Attributes:
        history: mean losses of each epoch.

    Raises:
        ConfigError: an encoder without a text tower for embedded prompts, an unknown method, or settings and names that
            do not fit.

    Source: Singha et al. 2023 (arXiv 2308.11605); CoOp: 2109.01134; CoCoOp: 2203.05557.
    """

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        classes: Sequence[str],
        method: str = "gopro",
        options: Mapping[str, Any] | None = None,
        context: str = PHRASE,
        augment: Mapping[str, Any] | None = None,
        chunk: int = 512,
        progress: bool = False,
        **schedule: Any,
    ) -> None:
        if method not in LEARNERS:
            raise ConfigError(f"method: {method!r} is no prompt learner.{nearest(method, LEARNERS)}")
        missing = [name for name in ("tokenize", "token_embedding", "encode_text_embeds") if not hasattr(encoder, name)]
        if missing:
            found = f"{type(encoder).__name__} without {', '.join(missing)}"
            raise ConfigError(message("encoder", found, "an image-text encoder of the multimodal plugin"))
        self.encoder, self.views = encoder.eval().requires_grad_(False), views
        self.method, self.options, self.context = method, dict(options or {}), context
        self.augment, self.chunk, self.progress = dict(augment or {}), chunk, progress
        self.schedule = Schedule(**_known(schedule))
        self.prompts = ClassPrompts(encoder, classes, context, chunk)
        self.history: list[dict[str, float]] = []
        self._learner: PromptLearner | None = None
        self._shape: tuple[int, list[int]] = (0, [])

    @property
    def _kind(self) -> type[PromptLearner]:
        return LEARNERS[self.method]

    @property
    def classes(self) -> list[str]:
        """Names that it was made for."""
        return self.prompts.names

    @property
    def learner(self) -> PromptLearner:
        """What was learnt.

        Raises:
            ConfigError: nothing yet.
        """
        if self._learner is None:
            todo = "Call fit(images, labels), or PromptClasses.load(folder, encoder, views)."
            raise ConfigError(message("PromptClasses", "no prompts yet", "fit before predict", todo))
        return self._learner

    def fit(self, images: Images, labels: Tensor | None = None) -> PromptClasses:
        """Learn from ``N`` images with ``(N,)`` labels, positions in `classes`; rows with -1 are left out.

        Ctrl-C keeps what was learnt until then.

        Raises:
            ShapeError: labels that are missing, do not fit, or of fewer than two images.
            TrainingError: the loss is not finite.
            Interrupted: by Ctrl-C.
        """
        chosen, known = self._labelled(images, labels)
        plain = self._plain(chosen[:1])
        seen = look(self.encoder, plain, self._kind.statistics)
        self._shape = seen.feature.shape[1], [rows.shape[1] for rows in seen.content]
        learner = self.blank(*self._shape)
        views = PromptViews(self.views, plain.data.shape[-1], **self.augment)
        self._learner, self.history = learner.eval(), []
        training = Training(learner, self.prompts, self.encoder, views, self.schedule)
        with Progress(console=Console(stderr=True), disable=not self.progress, transient=True) as bar:
            shown = bar.add_task("prompts", total=self.schedule.epochs)

            def tick(parts: Mapping[str, float]) -> None:
                self.history.append(dict(parts))
                bar.update(shown, advance=1, description=f"prompts, loss {parts['loss']:.3f}")

            try:
                training.run(chosen, known, tick)
            except KeyboardInterrupt:
                done = f"{len(self.history)} of {self.schedule.epochs} epochs"
                raise Interrupted(f"Stopped after {done}; what was learnt is kept: predict and save go on.") from None
            finally:
                learner.eval().requires_grad_(False)
        return self

    def blank(self, dim: int, layers: Sequence[int]) -> PromptLearner:
        """An untrained learner.

        Args:
            dim: of the shared space.
            layers: features of each layer of the image tower, where the method looks at them.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.schedule.seed)
            made = self._kind(self.prompts.start, dim, layers, **self.options)
        return made.to(self._device)

    @torch.no_grad()
    def scores(self, images: Images, classes: Sequence[str] | None = None, batch_size: int = 64) -> Tensor:
        """Probabilities ``(N, K)`` of the classes that `fit` was given, or of any others.

        Args:
            images: raw.
            classes: names in place of those of `fit`; nothing is learnt for them.
            batch_size: images at once.
        """
        prompts = self.prompts if classes is None else ClassPrompts(self.encoder, classes, self.context, self.chunk)
        learner, found = self.learner, []
        for start in range(0, len(images), batch_size):
            seen = look(self.encoder, self._plain(images[start : start + batch_size]), learner.statistics)
            logits = prompt_logits(learner.image(seen), prompts.encode(learner(seen)), self.schedule.temperature)
            found.append(logits.softmax(dim=1).cpu())
        return torch.cat(found) if found else torch.empty(0, len(prompts))

    def predict(self, images: Images, classes: Sequence[str] | None = None) -> Tensor:
        """The likeliest class ``(N,)`` of each image: positions in ``classes``, by default those of `fit`."""
        return self.scores(images, classes).argmax(dim=1)

    def evaluate(self, images: Images, labels: Tensor) -> dict[str, float]:
        """Share of right answers; rows with label -1 do not count.

        Returns:
            ``accuracy[gopro,classes=10]``, and ``class_accuracy[…]``, its mean over classes.

        Raises:
            ShapeError: labels that do not fit, or none that is known.
        """
        chosen, known = self._labelled(images, labels, least=1)
        right = (self.predict(chosen) == known).double()
        per_class = [float(right[known == number].mean()) for number in sorted(set(known.tolist()))]
        protocol = f"[{self.method},classes={len(self.classes)}]"
        return {
            f"accuracy{protocol}": float(right.mean()),
            f"class_accuracy{protocol}": sum(per_class) / len(per_class),
        }

    def save(self, folder: str | Path) -> None:
        """Write what was learnt: ``prompts.safetensors`` and ``prompts.json``; the encoder is not in it."""
        described = {
            "method": self.method,
            "options": self.options,
            "context": self.context,
            "classes": self.classes,
            "augment": self.augment,
            "schedule": asdict(self.schedule),
            "shape": self._shape,
        }
        kept.write(Path(folder), self.learner, self.encoder, described)

    @classmethod
    def load(cls, folder: str | Path, encoder: Encoder, views: Views) -> PromptClasses:
        """What `save` wrote, for the encoder that it was learnt with.

        Raises:
            RunError: files that are missing or torn, no safetensors, or of another encoder.
        """
        described = kept.read(Path(folder), encoder)
        (dim, layers), schedule = described.pop("shape"), described.pop("schedule")
        task = cls(encoder, views, **described, **schedule)
        task._shape = dim, layers
        task._learner = task.blank(dim, layers).eval().requires_grad_(False)
        load_weights(task._learner, Path(folder) / kept.WEIGHTS)
        return task

    def _labelled(self, images: Images, labels: Tensor | None, least: int = 2) -> tuple[Images, Tensor]:
        if labels is None or labels.shape != (len(images),):
            found = "none" if labels is None else f"shape {tuple(labels.shape)}"
            raise ShapeError(message("labels", found, f"({len(images)},), one per image"))
        rows = (labels >= 0).nonzero().flatten()
        if len(rows) < least:
            raise ShapeError(message("labels", f"{len(rows)} known", f"at least {least}", "Label a few images."))
        if int(labels.max()) >= len(self.classes):
            raise ShapeError(message("labels", int(labels.max()), f"0 to {len(self.classes) - 1}, and -1 for unknown"))
        chosen = images[rows] if isinstance(images, Tensor) else [images[int(row)] for row in rows]
        return chosen, labels[rows].long()

    def _plain(self, images: Images) -> Any:
        batch = batch_of(images).to(self._device)
        return next(view for view in self.views.plain(batch) if view.modality == "image")

    @property
    def _device(self) -> torch.device:
        return next(self.encoder.parameters()).device


def _known(schedule: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of `Schedule`, or an error that names the nearest one."""
    for name in schedule:
        if name not in Schedule.__dataclass_fields__:
            raise ConfigError(f"{name}: is no setting of PromptClasses.{nearest(name, Schedule.__dataclass_fields__)}")
    return schedule
