"""``finetune()``: a run's encoder and a fresh head learn a task; the machinery is that of every training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape

from counterpoint.errors import ConfigError, Interrupted, message, nearest, unknown
from counterpoint.methods.registry import FINE_TUNING
from counterpoint.objectives.base import Objective
from counterpoint.run import Run
from counterpoint.training import config as configs
from counterpoint.training.answers import known
from counterpoint.training.checkpoints import PLAIN, resume_command
from counterpoint.training.encoder_files import read_config
from counterpoint.training.evaluate import evaluate_run, show
from counterpoint.training.export import is_first_process
from counterpoint.training.hints import loaded
from counterpoint.training.pretrain import resume_run, start_run
from counterpoint.training.recipes import find_recipe
from counterpoint.training.supervision import views_of

OBJECTIVES = {"plain": "null", "core-tuning": "CoreTuning", "supremix": "SupReMix"}
SHORT = {
    "lr": "optimization.lr",
    "objective": "method.objective",
    "head_warmup": "method.head_warmup",
    "labels_per_class": "method.labels_per_class",
    "labels": "method.labels",
    "loss": "method.loss",
    "weight": "method.weight",
}
"""Short names of the settings that people reach for -> where they stand in the configuration."""
OF_TASK = {"labels_per_class": "classify", "weight": "classify", "labels": "regress", "loss": "regress"}
"""Those that one task alone has."""


def configured(run: str | Path, task: str | None, words: Sequence[str]) -> Namespace:
    """The complete configuration of a fine-tuning.

    Args:
        run: directory of the run whose encoder begins.
        task: ``"classify"`` or ``"regress"``.
        words: options as on the command line, short names among them.

    Raises:
        ConfigError: a setting that is not right.
        RunError: no run, or one that is not finished.
    """
    if task is None:
        raise ConfigError(f"--task is missing: {' or '.join(sorted(FINE_TUNING))}?")
    if task not in FINE_TUNING:
        raise ConfigError(f"--task {task}: classify or regress?{nearest(str(task), FINE_TUNING)}")
    _check_task(words, task)
    start = Run(run)
    described = read_config(start.path / "encoder")
    recipe = f"{described['plugin']}/{task}"
    configs.register(find_recipe(recipe).plugin)  # its objectives are known by their names, then
    chosen = spelt_out(words)
    data = _option(chosen, "--data") or start.config["data"]
    if data is None:
        raise ConfigError(f"--data: {start.path} learnt from two sources, whose labels say which; name labelled data")
    settings = {"start": str(start.path.resolve()), "out": f"{start.path}-{task}"}
    if _option(chosen, "--data") is None:
        settings["data"] = data
    parts = {"encoder": described["encoder"], "views": described["views"]}
    own = start.config["data"]
    same = data == own or (own is not None and Path(data).exists() and str(Path(data).resolve()) == own)
    if same and start.config.get("dataset"):
        own = start.config["dataset"]
        options = {key: value for key, value in (own.get("init_args") or {}).items() if key != "source"}
        parts["dataset"] = {"class_path": own["class_path"], "init_args": options}
    config = configs.parse([recipe, *configs.flatten({**settings, **parts}), *chosen])
    if Path(config.out).resolve() == start.path.resolve():
        todo = "Choose another: that encoder is what the result is measured beside."
        raise ConfigError(message("--out", config.out, "a directory of its own, not the run that it begins with", todo))
    if config.compare and config.method.init_args.objective is None:
        raise ConfigError("--compare: there is nothing to compare with; name an --objective other than plain")
    if config.optimization.lr == 0:
        raise ConfigError(
            message("--lr", config.optimization.lr, "a number above 0", "With 0 nothing would be learnt.")
        )
    return config


def _check_task(words: Sequence[str], task: str) -> None:
    """Refuse short names of the other task, and say what is meant by them in this one."""
    for word in words:
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if word.startswith("--") and OF_TASK.get(name, task) != task:
            like = {"labels": "labels_per_class", "labels_per_class": "labels"}.get(name)
            instead = f"; for {task} it is --{like.replace('_', '-')}" if like else ""
            raise ConfigError(f"--{name.replace('_', '-')} is for {OF_TASK[name]}{instead}")


def spelt_out(words: Sequence[str]) -> list[str]:
    """``--lr 1`` -> ``--optimization.lr 1``, ``--objective=core-tuning`` -> ``--method.objective=CoreTuning``.

    Raises:
        ConfigError: an objective of a name that no loaded class has.
    """
    spelt, names = [], False  # whether the word is the name of an objective
    for word in words:
        if not word.startswith("--"):
            spelt.append(_objective(word) if names else word)
            names = False
            continue
        key, equals, value = word[2:].partition("=")
        first, dot, rest = key.replace("-", "_").partition(".")
        names = first == "objective" and not dot
        if first == "compare" and not equals:
            equals, value = "=", "true"
        value = _objective(value) if names and equals else value
        spelt.append(f"--{SHORT.get(first, first)}{dot}{rest}{equals}{value}")
    return spelt


def _objective(name: str) -> str:
    """The class that ``name`` means; a path, a mapping or nothing at all stays as it is."""
    found = OBJECTIVES.get(name.lower().replace("_", "-"), name)
    known = loaded(Objective)
    if found.replace("-", "_").isidentifier() and found not in known | {"null", "None"}:
        allowed = f"{', '.join(OBJECTIVES)}, or the class of an objective"
        raise ConfigError(unknown("--objective", name, known | {*OBJECTIVES}, allowed))
    return found


def _option(words: Sequence[str], name: str) -> str | None:
    """The last value of an option."""
    found = None
    for number, word in enumerate(words):
        key, equals, value = word.partition("=")
        if key == name:
            found = value if equals else "".join(words[number + 1 : number + 2])
    return found


def start(config: Namespace, *, overwrite: bool = False) -> Run:
    """Fine-tune, compare if that was asked for, and measure on test."""
    return _finished(start_run(config, overwrite=overwrite))


def resume(path: Path) -> Run:
    """Go on with the fine-tuning at ``path``, whatever part of it is not done."""
    run = Run(path)
    compared = not run.config.get("compare") or (path / PLAIN / "run.json").is_file()
    if (path / "evaluation-test.json").is_file() and compared:
        Console().print(f"{escape(str(path))} is finished already; nothing to resume.", soft_wrap=True)
        return run
    return _finished(run if (path / "run.json").is_file() else resume_run(path))


def _finished(run: Run) -> Run:
    try:
        if run.config.get("compare"):
            _train_plain(run)
    except Interrupted:
        todo = f"Go on with: {resume_command(run.path)}"
        raise Interrupted(f"Stopped while the plain loss was trained for comparison. {todo}") from None
    if is_first_process():
        dataset = run.open()
        if len(known(dataset, dataset.splits()["test"], run.head.task)):
            show(evaluate_run(run))
        else:
            Console().print("Not measured: no sample of the test split has a label or target.")
    return run


def _train_plain(run: Run) -> None:
    """The same with the plain loss: equal data, seed, steps."""
    out = run.path / PLAIN
    if (out / "run.json").is_file():
        return
    if is_first_process():
        Console().print("[bold]For comparison: the plain loss, at equal steps[/]")
    if (out / "config.yaml").is_file():
        resume_run(out)
        return
    config = configs.parse(["--config", str(run.path / "config.yaml")])
    config.out, config.compare = str(out), False
    options = config.method.init_args
    options.views = views_of(config.method.as_dict())  # as many views are seen
    options.objective = None
    if "weight" in options:
        options.weight = None
    start_run(config)
