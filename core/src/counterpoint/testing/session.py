"""One plugin on the bench: which cases it demands, what the checks may use, and each case's result, found once."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from counterpoint import plugin as plugins
from counterpoint.apps import App, apps
from counterpoint.errors import CounterpointError
from counterpoint.parts import Dataset, Encoder, Task, Views
from counterpoint.plugin import Part, Plugin
from counterpoint.testing.registry import CHECKS, KINDS, Check, NotHere, Wrong
from counterpoint.testing.results import Report, Result, Status
from counterpoint.training import config as configs
from counterpoint.training.needs import can, lacks, methods_of
from counterpoint.types import Batch, Sample, View

ROWS = 8
MANY = 64  # samples of a dataset that are looked at


@dataclass(frozen=True, slots=True)
class Case:
    """One check of one part."""

    check: Check
    part: str

    def __str__(self) -> str:
        return f"{self.check.kind}/{self.part}/{self.check.name}"


class Session:
    """Runs the checks of one installed plugin, each at most once, in whatever order they are asked for.

    Args:
        name: of the plugin.

    Raises:
        PluginError: it is not installed, or broken.
    """

    def __init__(self, name: str) -> None:
        self.plugin: Plugin = plugins.get(name)
        self.found = next(found for found in plugins.discover() if found.name == name)
        self._results: dict[str, Result] = {}
        self._home = tempfile.TemporaryDirectory(prefix="counterpoint-check-")
        self._arguments: dict[str, dict[str, Any]] = {}
        self._opened: dict[str, Dataset] = {}
        self._configurations: dict[str, Any] = {}

    # What is demanded

    @cached_property
    def methods(self) -> dict[str, Part]:
        """Every method that fits the plugin's encoders: the core's and its own."""
        return {name: part for name, part in methods_of(self.plugin).items() if not lacks(self.plugin, part)}

    @cached_property
    def apps(self) -> dict[str, App]:
        """The installed apps that show this plugin's tasks."""
        return {name: app for name, app in apps().items() if isinstance(app, App) and app.plugin == self.plugin.name}

    def parts(self, kind: str) -> Mapping[str, Any]:
        """Name -> part, for each kind of the checks."""
        if kind == "plugin":
            return {self.plugin.name: None}
        if kind in ("methods", "apps"):
            found: Mapping[str, Any] = getattr(self, kind)
            return found
        parts: Mapping[str, Any] = getattr(self.plugin, kind)
        return parts

    @cached_property
    def cases(self) -> list[Case]:
        """Every check of every part, in the order in which the parts build upon each other."""
        return [
            Case(check, part) for kind in KINDS for part in self.parts(kind) for check in CHECKS if check.kind == kind
        ]

    # What the checks may use

    def folder(self, name: str) -> Path:
        """A folder of its own inside the session's, which is removed with it."""
        place = Path(self._home.name, name)
        place.mkdir(parents=True, exist_ok=True)
        return place

    def arguments(self, kind: str, name: str) -> dict[str, Any]:
        """The part's example arguments."""
        key = f"{kind}/{name}"
        if key not in self._arguments:
            self._arguments[key] = self.parts(kind)[name].arguments(self.folder(key))
        return dict(self._arguments[key])

    def build(self, kind: str, name: str, seed: int = 0) -> Any:
        """A new instance of the part, its weights drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.parts(kind)[name].load()(**self.arguments(kind, name))

    def first(self, kind: str) -> str:
        """Name of the first part of this kind that is not exempt from everything: what other kinds are tried with.

        Raises:
            Wrong: there is none.
        """
        for name, part in self.parts(kind).items():
            if "*" not in part.exempt:
                return name
        raise Wrong(f"{self.plugin.name} has none of its {kind} to try")

    def used(self, kind: str, case: Case) -> str:
        """Name of the part of ``kind`` that the case builds upon."""
        if kind == case.check.kind:
            return case.part
        if kind == "plugin":
            return self.plugin.name
        if case.check.kind == "methods":
            return str(self.recipe(case.part)[kind])
        return self.first(kind)

    def recipe(self, method: str) -> dict[str, str]:
        """Names of the dataset, the views and the encoder with which ``method`` is tried."""
        settings, needs = self.plugin.recipes.get(method, {}), self.methods[method].capabilities
        views = settings.get("views")
        fits = [name for name, part in self.plugin.encoders.items() if needs <= can(part)]
        tried = [name for name in fits if "*" not in self.plugin.encoders[name].exempt]
        return {
            "datasets": self.first("datasets"),
            "views": str(views) if views in self.plugin.views else self.first("views"),
            "encoders": (tried or fits)[0],
        }

    def opened(self, name: str) -> Dataset:
        """The dataset called ``name``, opened once."""
        if name not in self._opened:
            self._opened[name] = self.build("datasets", name)
        return self._opened[name]

    @property
    def dataset(self) -> Dataset:
        """The dataset that views, encoders and methods are tried with."""
        return self.opened(self.first("datasets"))

    @cached_property
    def sound(self) -> list[int]:
        """Training samples that can be read, from all over the split: neighbours may be alike."""
        train = self.dataset.splits()["train"].tolist()
        step = max(1, len(train) // ROWS)
        spread = (index for start in range(step) for index in train[start::step])
        return list(islice((index for index in spread if isinstance(self.dataset[index], Sample)), ROWS))

    def batch(self, rows: int = ROWS) -> Batch:
        """The first ``rows`` sound training samples as a new batch."""
        return self.dataset.batch(self.sound[:rows])

    def views(self, name: str | None = None) -> Views:
        """New views: the plugin's first, or those called ``name``."""
        views: Views = self.build("views", name or self.first("views"))
        return views

    def inputs(self, rows: int = ROWS) -> list[View]:
        """What an encoder is shown: the plain views of a new batch."""
        return self.views().plain(self.batch(rows))

    def encoder(self, name: str, seed: int = 0) -> Encoder:
        """A new encoder."""
        encoder: Encoder = self.build("encoders", name, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder.prepare(self.dataset)
        return encoder

    def task(self, name: str) -> Task:
        """A new task."""
        task: Task = self.build("tasks", name)
        return task

    def configuration(self, method: str, **more: Any) -> Any:
        """The configuration of ``plugin/method`` on the example parts; parsed once a method, as it takes long."""
        if more:
            return self._parsed(method, more)
        if method not in self._configurations:
            self._configurations[method] = self._parsed(method, {})
        return self._configurations[method].clone()

    def _parsed(self, method: str, more: Mapping[str, Any]) -> Any:
        used = self.recipe(method)
        dataset = self.arguments("datasets", used["datasets"])
        source, contrasted = dataset.pop("source", used["datasets"]), self.methods[method].load().contrasted
        words = [f"{self.plugin.name}/{method}"]
        words += [f"--{option}={source}" for option in (("background", "target") if contrasted else ("data",))]
        if contrasted:
            words += configs.flatten({"dataset": {"options": dataset}} if dataset else {})
        for key, kind in (("dataset", "datasets"), ("views", "views"), ("encoder", "encoders")):
            if contrasted and key == "dataset":
                continue
            cls = self.plugin.part(kind, used[kind]).load()
            words.append(f"--{key}={cls.__module__}.{cls.__qualname__}")
            words += configs.flatten({key: dataset if key == "dataset" else self.arguments(kind, used[kind])})
        return configs.parse([*words, *configs.flatten(more)])

    # Results

    def result(self, case: Case) -> Result:
        """How ``case`` ends; what it builds upon is looked at first."""
        key = str(case)
        if key not in self._results:
            began = time.perf_counter()
            status, reason = self._judge(case)
            seconds = time.perf_counter() - began
            self._results[key] = Result(case.check.kind, case.part, case.check.name, status, seconds, reason)
        return self._results[key]

    def _judge(self, case: Case) -> tuple[Status, str]:
        reason = self._exempt(case)
        if reason is not None:
            return ("skipped", reason) if reason.strip() else ("failed", "it is exempt without a written reason")
        blocking = self._blocking(case)
        if blocking:
            return "skipped", f"not tried, because {blocking} failed"
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return "passed", case.check.run(self, case.part) or ""
        except NotHere as skip:
            return "skipped", str(skip)
        except Wrong as error:
            return "failed", str(error)
        except Exception as error:  # any bug of a part is a finding here, not our crash
            return "failed", _told(error)

    def _exempt(self, case: Case) -> str | None:
        part = self.parts(case.check.kind)[case.part]
        exempt: Mapping[str, str] = getattr(part, "exempt", {})
        return exempt.get(case.check.name, exempt.get("*"))

    def _blocking(self, case: Case) -> str:
        """The first failed case that this one builds upon, or ""."""
        for needed in case.check.after:
            kind, _, name = needed.partition("/")
            try:
                part = self.used(kind, case)
            except Wrong as error:
                return str(error)
            base = Case(next(c for c in CHECKS if (c.kind, c.name) == (kind, name)), part)
            result = self.result(base)
            if result.status == "failed":
                return str(base)
            if result.status == "skipped" and result.reason.startswith("not tried, because "):
                return result.reason.removeprefix("not tried, because ").removesuffix(" failed")
        return ""

    def report(self, tick: Callable[[Result], None] | None = None) -> Report:
        """Run every case; Ctrl-C ends it early, and the report then misses the rest."""
        reached: list[Result] = []
        try:
            for case in self.cases:
                reached.append(self.result(case))
                if tick is not None:
                    tick(reached[-1])
        except KeyboardInterrupt:
            pass  # what is missing makes the report fail
        return self.so_far(reached)

    def so_far(self, reached: list[Result] | None = None) -> Report:
        """The report of what was reached until now."""
        results = tuple(self._results.values() if reached is None else reached)
        return Report(self.plugin.name, self.found.version, tuple(map(str, self.cases)), results)


def _told(error: Exception) -> str:
    """Type, text, and the last line that is not of the kit."""
    if isinstance(error, CounterpointError):
        return f"{type(error).__name__}: {error}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if str(Path(__file__).parent) not in f.filename]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"raises {type(error).__name__}: {error}{where}"
