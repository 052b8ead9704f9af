"""``pretrain()``: from unlabelled data to a run directory with a measured encoder."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from rich.console import Console
from rich.markup import escape

from counterpoint.errors import ConfigError, DataError, Interrupted, message
from counterpoint.files import require_disk, write_text
from counterpoint.methods.base import Method
from counterpoint.methods.finetune import FineTune
from counterpoint.methods.fit import unsupervised
from counterpoint.parts import Dataset, Protocol, Views
from counterpoint.run import CONFIG, Run
from counterpoint.training import config as configs
from counterpoint.training.answers import OnlineAnswers, begin, refit, scarce, training_samples
from counterpoint.training.cells import CellLog, CellSampler, largest_cell, read_cells
from counterpoint.training.checkpoints import LAST, SaveLast, checkpoint_step, resume_command
from counterpoint.training.contrasted import StratifiedSampler
from counterpoint.training.data import RunData, StepSampler
from counterpoint.training.directory import claim, clear, holding, release
from counterpoint.training.encoder_files import WEIGHTS, load_weights
from counterpoint.training.export import Facts, described, export, is_first_process
from counterpoint.training.guards import StepGuard
from counterpoint.training.head_files import save_head
from counterpoint.training.logs import MetricsLog
from counterpoint.training.monitors import Monitor
from counterpoint.training.online import OnlineFeatures
from counterpoint.training.optimizers import configure
from counterpoint.training.progress import Progress
from counterpoint.training.recipes import find_recipe
from counterpoint.training.selection import Selection
from counterpoint.training.settings import Settings, set_threads, settings_of
from counterpoint.training.sizes import Sizes, measure_sizes, parameter_bytes
from counterpoint.training.sources import SOURCES, Sources, accepting
from counterpoint.training.stages import fit_stages
from counterpoint.training.statistics import recompute_statistics
from counterpoint.training.stops import LeaveNow, StopRequest
from counterpoint.training.verdict import SHOWN, STARTED, UNTRAINED, diagnose

ROOM = 64 * 2**20  # bytes beside the checkpoints: logs, report
COPIES = 3  # the old checkpoint, the new one while it is written, and the encoder


def pretrain(recipe: str | None = None, *, resume: str | Path | None = None, **settings: Any) -> Run:
    """Learn an encoder from unlabelled data; as `counterpoint.pretrain`, but without the report.

    Args:
        recipe: ``plugin/method``.
        resume: go on with the unfinished run in this directory; nothing else may be given then.
        settings: any setting of the command line, and ``overwrite``.

    Raises:
        ConfigError: a setting that is not right.
        Interrupted: Ctrl-C or SIGTERM; the state is saved and the message says how to go on.
        TrainingError: the loss is not finite, or the disk is full.
    """
    if resume is not None:
        if recipe is not None or settings:
            raise ConfigError("resume repeats the run as it was configured: give it alone, without other settings")
        return resume_run(Path(resume))
    overwrite = bool(settings.pop("overwrite", False))
    return start_run(configured(recipe, settings), overwrite=overwrite)


def configured(recipe: str | None, settings: Mapping[str, Any]) -> Namespace:
    """The complete configuration from a recipe and keywords.

    Raises:
        ConfigError: a setting that is not right.
    """
    arguments = [recipe] if recipe is not None else []
    clean = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    return configs.parse([*arguments, *configs.flatten(clean)])


def start_run(config: Namespace, *, overwrite: bool = False) -> Run:
    """Begin a run in ``config.out``."""
    for option in SOURCES:
        if _is_path(config, option):
            config[option] = str(Path(config[option]).resolve())  # resume works from anywhere
    for option in ("cells", "init"):
        if config[option] is not None:
            config[option] = str(Path(config[option]).resolve())
    if config.init is not None and Path(config.init).resolve() == Path(config.out).resolve():
        raise ConfigError(message("--out", config.out, "a directory of its own, not that of --init", "Choose another."))
    if not is_first_process():
        return _begin(config)
    claim(Path(config.out), overwrite)
    with holding(Path(config.out)):
        return _begin(config)


def _begin(config: Namespace) -> Run:
    if config.stages.count > 1:
        described(config)
        return fit_stages(config, _fit, resumed=False)
    return _fit(config, checkpoint=None)


def resume_run(path: Path) -> Run:
    """Go on with the run at ``path``, exactly as if it had never stopped."""
    run = Run(path)
    release(path)
    if (path / "run.json").is_file():
        Console().print(f"{escape(str(path))} is finished already; nothing to resume.", soft_wrap=True)
        return run
    config = configs.parse(["--config", str(path / CONFIG)])
    config.out = str(path)
    if config.stages.count > 1:
        return fit_stages(config, _fit, resumed=True)
    checkpoint = path / LAST
    return _fit(config, checkpoint if checkpoint.is_file() else None)


def _is_path(config: Namespace, option: str) -> bool:
    """Whether the source names a file or folder, not a data set that happens to be called as something here."""
    source = config[option]
    if source is None or not Path(source).exists():
        return False
    plugin, full = find_recipe(config.recipe).plugin, str(Path(source).resolve())
    return accepting(plugin, full) is accepting(plugin, source)


def _fit(config: Namespace, checkpoint: Path | None) -> Run:
    settings, out, console = settings_of(config), Path(config.out), Console(soft_wrap=True)
    set_threads(settings.threads)
    torch.manual_seed(settings.seed)
    described(config)  # what could not be loaded again is refused before it is trained
    begun = 0 if checkpoint is None else checkpoint_step(checkpoint)
    built = configs.instantiate(config)
    dataset, views, method = built.dataset, built.views, built.method
    indices = training_samples(method, dataset, settings.seed)
    method.prepare(dataset, indices)
    if checkpoint is None and config.get("start"):
        load_weights(method.encoder, Path(config.start) / "encoder" / WEIGHTS)
    if checkpoint is None and isinstance(method, FineTune):
        begin(method, views, dataset, indices, settings.seed)
    cells = read_cells(Path(settings.cells), indices) if settings.cells else None
    data = RunData(dataset, views, indices, settings, _order(dataset, cells))
    stop, guard = StopRequest(), StepGuard(out, dataset, settings.seed)
    monitor = _monitor(config, settings, method, views, dataset, indices)
    selection = Selection(out, monitor, settings.select, settings.patience) if settings.select else None
    save = SaveLast(out, settings.save_minutes, settings.save_steps, stop)
    # Saving comes last, when the monitors have written their rows.
    with _quiet():
        watching = [monitor, *([selection] if selection else []), *([CellLog(data)] if settings.cells else [])]
        before = STARTED if isinstance(method, FineTune) else UNTRAINED
        watching += [Progress(not settings.progress, settings.select or _shown(method), before=before)]
        trainer = _trainer(settings, out, [stop, guard, *watching, save])
    together = len(indices) if cells is None else largest_cell(cells)
    fitting, smaller = _batch_size(settings, together, trainer.world_size, cells is not None)
    config.batch_size = settings.batch_size = fitting
    _plan(method, settings, built.optimization, len(data.sampler(ranks=trainer.world_size)))
    require_disk(out, COPIES * parameter_bytes(method) + ROOM)
    if trainer.is_global_zero:
        sizes = _sizes(method, views, dataset, indices, settings, trainer)
        # The choice is written down: with another memory a resumed run must not choose anew.
        config.micro_batch = sizes.micro_batch or settings.batch_size
        if checkpoint is None:
            clear(out)
        write_text(out / CONFIG, configs.dump(config))
        told = f"{len(indices)} training samples of {Sources.of(config)} · {sizes.describe(settings.batch_size)}"
        console.print(f"[bold]{config.recipe}[/] · {escape(told)}")
        drawn = data.sampler(ranks=trainer.world_size)
        in_cells = str(drawn) if isinstance(drawn, CellSampler) else ""
        if warning := unsupervised(method, dataset):
            console.print(escape(warning), style="bold")
        for note in filter(None, (*dataset.notes, scarce(method, dataset, indices), smaller, in_cells)):
            console.print(escape(note), style="dim")
    began = time.perf_counter()
    with _quiet(), stop.listening(), guard.explaining():
        _train(trainer, method, data, checkpoint)
    seconds = time.perf_counter() - began
    if trainer.is_global_zero:
        done = (trainer.global_step - begun) * settings.batch_size * trainer.world_size
        chosen = None
        if selection is not None:
            selection.restore(method.kept)
            chosen = {"by": settings.select, **selection.best}
        if cells is not None:
            recompute_statistics(method.encoder, views, dataset, indices, settings)
        steps, ranks = trainer.global_step, trainer.world_size
        facts = Facts(len(indices), steps, seconds, done / seconds, chosen, ranks, begun)
        export(out, config, method.encoder, described(config), dataset, facts)
        if isinstance(method, FineTune):
            refit(method, views, dataset, indices)
            save_head(out / "head", method, dataset)
        lines = [monitor.damaged, str(selection or ""), str(diagnose(out)), f"Run: {out}"]
        console.print(escape("\n".join(line for line in lines if line)))
    return Run(out)


def _order(dataset: Dataset, cells: np.ndarray | None) -> Callable[..., StepSampler]:
    """How batches are drawn."""
    if cells is not None and dataset.strata is not None:
        todo = "Batches of one cell need not hold both."
        raise ConfigError(message("cells", "given", "null where each batch holds background and targets", todo))
    if cells is not None:
        return partial(CellSampler, cells=cells)
    return StepSampler if dataset.strata is None else partial(StratifiedSampler, strata=dataset.strata)


def _train(trainer: Trainer, method: Method, data: RunData, checkpoint: Path | None) -> None:
    try:
        trainer.fit(method, data, ckpt_path=checkpoint, weights_only=True)
    except LeaveNow:
        run = trainer.default_root_dir
        raise Interrupted(
            f"Stopped at once; what came after the last checkpoint is lost. Go on with: {resume_command(Path(run))}"
        ) from None


def _batch_size(settings: Settings, samples: int, ranks: int, in_cells: bool) -> tuple[int, str]:
    """The batch size, made smaller where there are fewer samples than that, in all or in the largest of the cells.

    Returns:
        It, and what is told of it, which is nothing where it is as asked for.
    """
    named, which = ("cells", "training samples in the largest cell") if in_cells else ("data", "training samples")
    if samples < 2 * ranks:
        raise DataError(message(named, f"{samples} {which}", f"at least {2 * ranks}", "Add more."))
    largest = samples // ranks
    if settings.batch_size <= largest:
        return settings.batch_size, ""
    return largest, f"batch_size {settings.batch_size} is more than there are {which}; using {largest}"


def _plan(method: Method, settings: Settings, optimization: Any, epoch: int) -> None:
    """Tell the method how long it will train, with so many steps in an epoch, and with what."""
    steps = epoch * settings.epochs
    method.total_steps = min(steps, settings.max_steps or steps)
    method.optimization = partial(configure, optimization=optimization)


def _sizes(
    method: Method, views: Views, dataset: Dataset, indices: np.ndarray, settings: Settings, trainer: Trainer
) -> Sizes:
    sizes = measure_sizes(
        method,
        views,
        dataset,
        indices,
        per_rank=settings.batch_size,
        ranks=trainer.world_size,
        micro_batch=settings.micro_batch,
        device=trainer.strategy.root_device,
    )
    method.micro_batch = sizes.micro_batch
    return sizes


Measure = Callable[[], dict[str, float]]


def _shown(method: Method) -> str | None:
    """The metric of val beside the loss, where nothing was chosen to be looked at."""
    return SHOWN[method.task] if isinstance(method, FineTune) else None


def _protocol(config: Namespace, method: Method, views: Views, dataset: Dataset) -> Measure | None:
    """What the plugin measures of the encoder on val, where it has a protocol of its own."""
    part = find_recipe(config.recipe).plugin.protocol
    if part is None:
        return None
    protocol: Protocol = part.load()()
    return lambda: protocol.measure(method.encoder, views, dataset, "val")


def _monitor(
    config: Namespace, settings: Settings, method: Method, views: Views, dataset: Dataset, indices: np.ndarray
) -> Monitor:
    features: OnlineFeatures
    if isinstance(method, FineTune):
        features = answers = OnlineAnswers(method, views, dataset, indices, settings.seed)
        protocol: Measure | None = answers.measure
    else:
        features = OnlineFeatures(method, views, dataset, settings.seed)
        protocol = _protocol(config, method, views, dataset)
    return Monitor(features, settings.monitor_steps, settings.monitor_epochs, protocol=protocol)


def _trainer(settings: Settings, out: Path, callbacks: list[Callback]) -> Trainer:
    loggers: list[Logger] = [MetricsLog(out)]
    if settings.tensorboard:
        loggers.append(TensorBoardLogger(out, name="tensorboard", version=""))
    return Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=settings.precision,  # type: ignore[arg-type]
        max_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        logger=loggers,
        callbacks=callbacks,
        sync_batchnorm=_can_synchronise(settings),
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        default_root_dir=out,
    )


def _can_synchronise(settings: Settings) -> bool:
    """Torch synchronises batch statistics on GPUs only; on CPUs each process keeps to its own."""
    return settings.accelerator != "cpu" and torch.cuda.is_available()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice, which does not apply here: loaders and logging are ours."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for text in (
                "does not have many workers",
                "number of training batches",
                "not resumable",
                "in eval mode at",
            ):
                warnings.filterwarnings("ignore", f".*{text}.*")  # in eval mode are frozen encoders, which is meant
            warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")
            yield
    finally:
        logger.setLevel(level)
