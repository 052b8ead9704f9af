"""``pretrain()``: from unlabelled data to a run directory with a measured encoder."""

from __future__ import annotations

import logging
import shutil
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from rich.console import Console

from counterpoint.errors import ConfigError, DataError, RunError, message
from counterpoint.files import require_disk, write_text
from counterpoint.methods.base import Method
from counterpoint.parts import Dataset, Views
from counterpoint.run import CONFIG, Run
from counterpoint.training import config as configs
from counterpoint.training.checkpoints import LAST, SaveLast
from counterpoint.training.data import RunData
from counterpoint.training.export import export, is_first_process
from counterpoint.training.guards import StepGuard
from counterpoint.training.logs import MetricsLog
from counterpoint.training.monitors import Monitor
from counterpoint.training.online import OnlineFeatures
from counterpoint.training.optimizers import configure
from counterpoint.training.progress import Progress
from counterpoint.training.settings import Settings, set_threads, settings_of
from counterpoint.training.sizes import PROBE, Sizes, activation_bytes, choose_micro_batch, free_memory, parameter_bytes
from counterpoint.training.verdict import diagnose

ROOM = 64 * 2**20  # bytes beside the checkpoints: logs, report
COPIES = 3  # the old checkpoint, the new one while it is written, and the encoder


def pretrain(recipe: str | None = None, *, resume: str | Path | None = None, **settings: Any) -> Run:
    """Learn an encoder from unlabelled data.

    ::

        run = cp.pretrain("vision/simclr", data="photos/", epochs=20)
        run = cp.pretrain("vision/simclr", data="photos/", method={"objective": "DCL"}, batch_size=64)
        run = cp.pretrain(resume="runs/photos")

    Args:
        recipe: ``plugin/method``.
        resume: go on with the unfinished run in this directory; nothing else may be given then.
        settings: any setting of the command line; nested ones as dictionaries. ``counterpoint pretrain --help`` lists
            them. ``overwrite=True`` starts again in a directory that holds a run.

    Returns:
        The finished run.

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
    arguments = [recipe] if recipe is not None else []
    clean = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    return start_run(configs.parse([*arguments, *configs.flatten(clean)]), overwrite=overwrite)


def start_run(config: Namespace, *, overwrite: bool = False) -> Run:
    """Begin a run in ``config.out``."""
    if Path(config.data).exists():
        config.data = str(Path(config.data).resolve())  # resume works from anywhere
    if is_first_process():
        _claim(Path(config.out), overwrite)
    return _fit(config, checkpoint=None)


def resume_run(path: Path) -> Run:
    """Go on with the run at ``path``, exactly as if it had never stopped."""
    run = Run(path)
    config = configs.parse(["--config", str(path / CONFIG)])
    config.out = str(path)
    checkpoint = path / LAST
    if (path / "run.json").is_file():
        Console().print(f"{path} is finished already; nothing to resume.")
        return run
    return _fit(config, checkpoint if checkpoint.is_file() else None)


def _claim(out: Path, overwrite: bool) -> None:
    """Make ``out`` ours, or refuse: nothing of anybody's is overwritten unasked."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / CONFIG).is_file():
        raise RunError(f"--out {out}: exists and is no run directory. Choose another.")
    if not overwrite:
        raise RunError(
            f"--out {out}: holds a run already. Go on with it: counterpoint pretrain --resume {out}; "
            "or start again with --overwrite; or choose another --out."
        )
    shutil.rmtree(out)


def _fit(config: Namespace, checkpoint: Path | None) -> Run:
    settings, out, console = settings_of(config), Path(config.out), Console()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    set_threads(settings.threads)
    torch.manual_seed(settings.seed)
    built = configs.instantiate(config)
    dataset: Dataset = built.dataset
    views: Views = built.views
    method: Method = built.method
    indices = dataset.splits()["train"]
    trainer = _trainer(settings, out, dataset, views, method)
    config.batch_size = settings.batch_size = _batch_size(settings, len(indices), trainer.world_size)
    _plan(method, settings, built.optimization, len(indices), trainer.world_size)
    require_disk(out, COPIES * parameter_bytes(method) + ROOM)
    if trainer.is_global_zero:
        write_text(out / CONFIG, configs.dump(config))
        sizes = _sizes(method, views, dataset, indices, settings, trainer)
        console.print(f"[bold]{config.recipe}[/] · {len(indices)} training samples of {config.data} · {sizes}")
    began = time.perf_counter()
    data = RunData(dataset, views, indices, settings)
    with warnings.catch_warnings():
        _quiet()
        trainer.fit(method, data, ckpt_path=checkpoint, weights_only=True)
    if trainer.is_global_zero:
        export(out, config, method, dataset, seconds=time.perf_counter() - began, samples=len(indices))
        console.print(str(diagnose(out)))
        console.print(f"Run: {out}")
    return Run(out)


def _batch_size(settings: Settings, samples: int, ranks: int) -> int:
    """The batch size, made smaller where there are fewer samples than that."""
    if samples < 2 * ranks:
        raise DataError(message("data", f"{samples} training samples", f"at least {2 * ranks}", "Add more."))
    largest = samples // ranks
    if settings.batch_size > largest:
        warnings.warn(f"batch_size {settings.batch_size} is more than there are samples; using {largest}", stacklevel=2)
    return min(settings.batch_size, largest)


def _plan(method: Method, settings: Settings, optimization: Any, samples: int, ranks: int) -> None:
    """Tell the method how long it will train and with what."""
    steps = samples // (settings.batch_size * ranks) * settings.epochs
    method.total_steps = min(steps, settings.max_steps or steps)
    method.optimization = partial(configure, optimization=optimization)


def _sizes(method: Method, views: Views, dataset: Dataset, indices: Any, settings: Settings, trainer: Trainer) -> str:
    """Measure what a step needs, choose the micro-batch, and say both."""
    device = torch.device("cpu")
    batch = dataset.batch(indices[: 8 * PROBE].tolist())
    made = views(batch, torch.Generator().manual_seed(0))
    activation = activation_bytes(method.encoder, made) if len(batch) else 0
    root = trainer.strategy.root_device
    free = free_memory(root if root.type == "cuda" else device)
    method.micro_batch = choose_micro_batch(settings.micro_batch, settings.batch_size, activation, free)
    sizes = Sizes(
        settings.batch_size * trainer.world_size, method.micro_batch, activation, parameter_bytes(method), free
    )
    return sizes.describe(settings.batch_size, len(made))


def _trainer(settings: Settings, out: Path, dataset: Dataset, views: Views, method: Method) -> Trainer:
    features = OnlineFeatures(method, views, dataset, settings.seed)
    save = SaveLast(out, settings.save_minutes, settings.save_steps)
    log = MetricsLog(out)
    monitor = Monitor(features, every_n_steps=settings.monitor_steps, every_n_epochs=settings.monitor_epochs)
    callbacks: list[Callback] = [StepGuard(out, dataset, settings.seed), monitor, Progress(quiet=not settings.progress)]
    loggers: list[Logger] = [log]
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
        callbacks=[*callbacks, save],  # saving comes last, when the monitors have written their rows
        sync_batchnorm=True,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        default_root_dir=out,
    )


def _quiet() -> None:
    """Lightning's advice that does not apply here: loaders, logging and checkpoints are ours."""
    for text in (".*does not have many workers.*", ".*number of training batches.*", ".*not resumable.*"):
        warnings.filterwarnings("ignore", text)
    warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")
