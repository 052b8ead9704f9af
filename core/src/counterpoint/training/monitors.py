"""The online monitor: is it learning?

Loss beside its chance level, spread and rank of the embeddings, scores of positives and negatives, and the encoder's
kNN beside that of the untrained encoder. A step's number is the optimiser updates done: the row of step ``n`` describes
the batch of the ``n``-th update, as the weights were before it. The metrics:

=========================== ==========================================================================================
``train/loss``              mean over ranks
``train/chance``            the loss of a model that has learnt nothing, where the objective has such a level
``train/learning_rate``     of that update
``train/grad_norm``         L2 norm over all parameters
``parts/<name>``            what the objective names: its terms, its temperature
``batch/std``               std of the embeddings times ``sqrt(D)``: 1 healthy, 0 collapsed
``batch/rankme``            effective rank of the embeddings, at most ``batch/rank_limit``
``batch/alignment``         Wang & Isola; lower is better
``batch/uniformity``        Wang & Isola; lower is better
``batch/positive``          mean cosine of two views of one sample
``batch/negative``          mean cosine of views of samples of different content
``batch/positive_variance`` variance of the cosines of two views of one sample
``batch/negative_variance`` variance of the cosines of an anchor and its negatives, mean over anchors
``queue/negative``          mean cosine of a view and a memory's rows of other content, where the method has a memory
``queue/negative_variance`` and their variance, as above
``batch/duplicates``        share of samples whose content the batch had already
``val/knn[k=20,T=0.07]``    accuracy of the encoder's features on held-out samples, where there are labels
``val/rankme`` ``val/std``  and ``val/uniformity``: of the same features
``val/<metric>``            what the plugin's protocol measures on val, e.g. ``val/recall@20``
``untrained/…``             the same before the first update (step 0); ``untrained/queries``: samples it is measured on
``data/damaged``            records of this epoch that could not be read
``time/…``                  what depends on the clock (in ``timing.csv``)
=========================== ==========================================================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import distributed

from counterpoint.errors import ConfigError, message
from counterpoint.training.logs import METRICS, MetricsLog, read_metrics
from counterpoint.training.measures import (
    Embed,
    batch_measures,
    duplicate_share,
    encoder_measures,
    queue_measures,
    undisturbed,
)
from counterpoint.training.scores import ScoreCounts
from counterpoint.types import Batch, Damaged, Step

NAMED = 5
"""Damaged records that are named at the end; all are counted."""


class Monitor(Callback):
    """Watches a pretraining and changes nothing in it: the weights end the same with it and without it.

    It writes to the trainer's loggers on rank zero; the epoch's score histograms go to ``scores.csv`` in the run
    directory of the trainer's `MetricsLog`. What that log holds beyond the step where a run begins or resumes is
    forgotten. Put it before the callbacks that save checkpoints, so that a checkpoint holds the counts of its step.

    Args:
        embed: ``"train"`` or ``"val"`` -> the encoder's features ``(N, D)`` of a fixed subset of that split (2,000 and
            1,000 samples are plenty), and its labels or None. Called in evaluation mode, without gradients. What could
            not be read then is counted too, where it keeps that in ``damaged`` as `OnlineFeatures` does.
        every_n_steps: updates between two looks at a batch; the first update and each epoch's last batch are always
            looked at.
        every_n_epochs: epochs between two looks at the encoder; the last epoch always has one.
        k: neighbours of the kNN.
        temperature: of its votes.
        protocol: measures the encoder on val in the plugin's own way; called as ``embed`` is.

    Attributes:
        latest: the newest value of each metric, for a progress bar.
        damaged: at the end, a line about all records of the run that could not be read; empty if there were none.
        looked_at_epoch: the last one after which the encoder was looked at (rank zero).

    Raises:
        ConfigError: a number of steps, epochs or neighbours below 1.
    """

    def __init__(
        self,
        embed: Embed,
        every_n_steps: int = 20,
        every_n_epochs: int = 1,
        k: int = 20,
        temperature: float = 0.07,
        protocol: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("every_n_epochs", every_n_epochs), ("k", k)):
            if value < 1:
                raise ConfigError(message(name, value, "a whole number from 1"))
        self.embed, self.protocol = embed, protocol
        self.every_n_steps, self.every_n_epochs = every_n_steps, every_n_epochs
        self.k, self.temperature = k, temperature
        self.latest: dict[str, float] = {}
        self.damaged = ""
        self.looked_at_epoch = -1
        self._scores = ScoreCounts()
        self._damaged: dict[int, Damaged] = {}
        self._lost: dict[tuple[int, str], Damaged] = {}
        self._update: dict[str, float] = {}
        self._looked_at = -1
        self._clock = _Clock()

    def state_dict(self) -> dict[str, Any]:
        """Counts of the epoch so far, and what the run has lost before it, in plain numbers and strings."""
        records = {"damaged": self._damaged.values(), "lost": self._lost.values()}
        plain = {key: [[one.index, one.name, one.reason] for one in kept] for key, kept in records.items()}
        return {"scores": self._scores.as_lists(), **plain}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting where the checkpoint stands."""
        self._scores = ScoreCounts(state_dict["scores"])
        self._damaged = {record[0]: Damaged(*record) for record in state_dict["damaged"]}
        self._lose(Damaged(*record) for record in state_dict.get("lost", ()))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Rewind the log to where this run begins or resumes; look at the untrained encoder if it begins."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsLog):
                logger.rewind(trainer.global_step)
                if trainer.is_global_zero:
                    self.latest |= _looked_at_first(logger.run)  # a resumed run has its baseline from there
        if trainer.global_step == 0 and trainer.is_global_zero:
            self._look_at_encoder(trainer, pl_module, "untrained")
        self._looked_at = trainer.global_step
        self._clock.restart()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Note the update's gradient norm and learning rate while both are there."""
        if trainer.is_global_zero and self._due(trainer, trainer.global_step + 1):
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            self._update = {
                "train/grad_norm": float(torch.nn.utils.get_total_norm(gradients)),
                "train/learning_rate": float(optimizer.param_groups[0]["lr"]),
            }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the batch, if it is its turn."""
        samples: Batch = batch[0]
        self._damaged.update({record.index: record for record in samples.damaged})
        self._clock.count(len(samples) * trainer.world_size)
        step = trainer.global_step
        if step > self._looked_at and self._due(trainer, step):
            self._looked_at = step
            times = self._clock.read()
            with self._clock.pause():
                self._log(trainer, self._look_at_batch(trainer, cast(Step, pl_module.last_step), samples) | times)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's histograms and damaged records, and look at the encoder if it is its turn."""
        found = torch.tensor(float(len(self._damaged)), device=pl_module.device)
        damaged = float(trainer.strategy.reduce(found, reduce_op="sum"))
        for records in _of_all_ranks(list(self._damaged.values())):
            self._lose(records)
        if trainer.is_global_zero:
            with self._clock.pause():
                self._write_scores(trainer)
                self._log(trainer, {"data/damaged": damaged})
                if (trainer.current_epoch + 1) % self.every_n_epochs == 0 or _last_epoch(trainer):
                    self._look_at_encoder(trainer, pl_module, "val")
                    self.looked_at_epoch = trainer.current_epoch
        self._scores, self._damaged = ScoreCounts(), {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many records could not be read, and name some."""
        if self._lost:
            first = [self._lost[key] for key in sorted(self._lost)[:NAMED]]
            named = ", ".join(f"{record.name} ({record.reason})" for record in first)
            more = f", and {len(self._lost) - len(first)} more" if len(self._lost) > len(first) else ""
            self.damaged = f"Damaged records, left out: {len(self._lost)}: {named}{more}"
            rank_zero_info(self.damaged)

    def _lose(self, records: Iterable[Damaged]) -> None:
        """Count records of the whole run, each once; by name as well, for what is embedded need not be the samples."""
        for record in records:
            self._lost.setdefault((record.index, record.name), record)

    def _due(self, trainer: Trainer, step: int) -> bool:
        return step == 1 or step % self.every_n_steps == 0 or trainer.is_last_batch

    def _look_at_batch(self, trainer: Trainer, told: Step, batch: Batch) -> dict[str, float]:
        loss = told.loss.detach().clone()  # reducing writes into it
        loss = trainer.strategy.reduce(loss, reduce_op="mean")  # a collective: every rank takes part
        if not trainer.is_global_zero:
            return {}
        values = {"train/loss": float(loss)}
        if told.chance is not None:
            values["train/chance"] = float(told.chance)
        values |= self._update
        values |= {f"parts/{name}": float(value) for name, value in told.parts.items() if value.numel() == 1}
        values["batch/duplicates"] = duplicate_share(batch.content)
        if told.pair is not None:
            measured, positive, negative = batch_measures(*told.pair, batch.content)
            values |= measured
            self._scores.add("positive", positive)
            self._scores.add("negative", negative)
        if told.pair is not None and told.queue is not None:
            measured, queued = queue_measures(told.pair[0], told.queue[0], batch.content, told.queue[1])
            values |= measured
            self._scores.add("queue", queued)
        return values

    def _look_at_encoder(self, trainer: Trainer, pl_module: LightningModule, when: str) -> None:
        with undisturbed(pl_module):
            values = encoder_measures(self.embed, self.k, self.temperature)
            values |= {} if self.protocol is None else self.protocol()
        for records in getattr(self.embed, "damaged", {}).values():
            self._lose(records)
        if when == "val":
            values.pop("queries", None)  # the same in every epoch: the untrained encoder's row has it
        self._log(trainer, {f"{when}/{name}": value for name, value in values.items()})

    def _write_scores(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, MetricsLog):
                self._scores.write(logger.run, trainer.global_step, trainer.current_epoch)

    def _log(self, trainer: Trainer, values: dict[str, float]) -> None:
        self.latest |= values
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=trainer.global_step)


def _of_all_ranks(records: list[Damaged]) -> list[list[Damaged]]:
    """What each process has; a collective."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [records]
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, records)
    return found


class _Clock:
    """Samples per second of training itself: what the monitor takes is kept apart."""

    def __init__(self) -> None:
        self._looking = 0.0
        self.restart()

    def restart(self) -> None:
        self._since, self._samples, self._steps = time.perf_counter(), 0, 0

    def count(self, samples: int) -> None:
        self._samples += samples
        self._steps += 1

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What happens inside does not count as training."""
        begin = time.perf_counter()
        yield
        taken = time.perf_counter() - begin
        self._since += taken
        self._looking += taken

    def read(self) -> dict[str, float]:
        """Averages since the last reading, which start again; seconds in all that looking has taken."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        values = {
            "time/samples_per_second": self._samples / seconds,
            "time/step_seconds": seconds / max(1, self._steps),
            "time/monitor_seconds": self._looking,
        }
        self.restart()
        return values


def _looked_at_first(run: Path) -> dict[str, float]:
    """What the log of ``run`` says of the encoder before its first update; empty where there is no log yet."""
    found = read_metrics(run) if (run / METRICS).is_file() else {}
    return {name: points[-1][1] for name, points in found.items() if name.startswith("untrained/")}


def _last_epoch(trainer: Trainer) -> bool:
    by_epochs = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
    return by_epochs or trainer.global_step == trainer.max_steps
