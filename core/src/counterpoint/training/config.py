"""From a recipe's name, a YAML file, options or keywords to one complete, typed configuration (jsonargparse).

YAML and the command line are the same thing: ``--method.objective.temperature 0.2`` is ``method: {objective:
{temperature: 0.2}}``. The complete configuration is written into the run directory; feeding it back repeats the run.
"""

from __future__ import annotations

import argparse
import json
from argparse import ArgumentError
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace, get_loader, set_loader

from counterpoint import plugin as plugins
from counterpoint.errors import ConfigError, CounterpointError, message
from counterpoint.methods.base import Method
from counterpoint.parts import Dataset, Encoder, Views
from counterpoint.training.contrasted import Contrasted
from counterpoint.training.encoder_files import WEIGHTS, load_weights
from counterpoint.training.hints import explain
from counterpoint.training.recipes import Recipe, find_recipe
from counterpoint.training.settings import Optimization, Settings, Stages, settings_of
from counterpoint.training.sources import SOURCES, Sources, dataset_class

DESCRIPTION = """Learn an encoder from unlabelled data.

examples:
  counterpoint pretrain vision/simclr --data photos/ --out runs/photos
  counterpoint pretrain vision/simclr --data photos/ --method.objective DCL --batch_size 64
  counterpoint pretrain vision/moco --data photos/ --encoder Timm --encoder.name resnet50 --devices 8
  counterpoint pretrain vision/simclr --data photos/ --stages.count 2
  counterpoint pretrain vision/sepclr --background plain/ --target with-glasses/
  counterpoint pretrain --config configs/vision/simclr-cpu.yaml --epochs 5
  counterpoint pretrain vision/simclr --print_config > mine.yaml
  counterpoint pretrain --resume runs/photos
"""

TUNING = """Teach a run's encoder a task, beside a fresh head: all settings, under their full names.
Short names and examples: counterpoint finetune --help
"""

OUT = "runs/<plugin>-<method>"

MODE = "yaml and None"
"""How values are read: as YAML; and ``None`` is null, since jsonargparse turns a null two classes down into that."""


def _read(text: str) -> Any:
    return None if text.strip() == "None" else get_loader("yaml")(text)


set_loader(MODE, _read, (yaml.YAMLError,))


class _TuningHelp(argparse.RawDescriptionHelpFormatter):
    """Help without the settings that a fine-tuning refuses.

    They stay in its configuration: to suppress an option's help would take it out of there as well.
    """

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], *more: Any, **named: Any) -> None:
        """Only what may be given."""
        super().add_usage(usage, [action for action in actions if _tunable(action)], *more, **named)

    def add_argument(self, action: argparse.Action) -> None:
        """Nothing of what may not be given."""
        if _tunable(action):
            super().add_argument(action)


def _tunable(action: argparse.Action) -> bool:
    return action.dest.partition(".")[0] not in ("background", "target", "stages")


def build_parser(
    recipe: Recipe | None = None,
    sources: Sources | None = None,
    chosen: Mapping[str, str] | None = None,
    init: str | None = None,
) -> ArgumentParser:
    """The parser of ``counterpoint pretrain``.

    Args:
        recipe: where its defaults come from.
        sources: what the default dataset is chosen by.
        chosen: kind -> name of a class in place of the recipe's. Its own defaults then hold, and what the recipe says
            itself: the parser alone would keep the defaults of the recipe's class as well.
        init: run whose encoder's weights a built method begins with.
    """
    tunes = recipe is not None and recipe.tunes
    sources = sources or Sources()
    parser = ArgumentParser(
        prog="counterpoint finetune" if tunes else "counterpoint pretrain",
        description=TUNING if tunes else DESCRIPTION,
        formatter_class=_TuningHelp if tunes else argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
        parser_mode=MODE,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with any of these settings")
    parser.add_argument("--recipe", type=str, help="plugin/method, e.g. vision/simclr")
    parser.add_argument("--data", type=str | None, help="a folder, a table, an archive, or the name of a data set")
    parser.add_argument("--background", type=str | None, help="with --target, instead of --data: what is common")
    parser.add_argument("--target", type=str | None, help="with --background: the same, and something more")
    parser.add_argument("--out", type=str, help=f"run directory (default: {'RUN-TASK' if tunes else OUT})")
    parser.add_class_arguments(Settings, None)
    parser.add_argument("--optimization", type=Optimization, default=Optimization(), help="optimiser and schedule")
    parser.add_argument("--stages", type=Stages, default=Stages(), help="several encoders, each for what is left (MCL)")
    parser.add_argument("--dataset", type=Dataset, help="dataset class and its options (default: chosen by --data)")
    parser.add_argument("--views", type=Views, help="views class and its options")
    parser.add_argument("--encoder", type=Encoder, help="encoder class and its options")
    parser.add_argument("--method", type=Method, help="method class and its options (objective, heads, …)")
    links = {"background": "background", "target": "target"} if sources.contrasted else {"data": "source"}
    for option, argument in links.items():
        parser.link_arguments(option, f"dataset.init_args.{argument}", apply_on="parse")
    prepare = update_wrapper(partial(prepared, init=init), prepared)  # by whose name the help calls it
    parser.link_arguments(
        ("dataset", "encoder"), "method.init_args.encoder", compute_fn=prepare, apply_on="instantiate"
    )
    if tunes:
        parser.add_argument("--start", type=str | None, help="run whose encoder begins; null: fresh weights")
        text = "train the plain loss as well, at equal steps, in OUT/plain"
        parser.add_argument("--compare", type=bool, default=False, help=text)
    if recipe is not None:
        defaults = _defaults(recipe, sources)
        parser.set_defaults(defaults)
        for kind, name in (chosen or {}).items():
            if _last(name) != _last(defaults.get(kind, {}).get("class_path", "")):
                with suppress(ImportError, ValueError, AttributeError):  # misspelt: parsing says so, and what there is
                    _choose(parser, kind, name, defaults.get(kind, {}).get("init_args", {}))
    return parser


def _choose(parser: ArgumentParser, kind: str, name: str, said: Mapping[str, Any]) -> None:
    """Make the class ``name`` the default, with those options of ``said`` that it has."""
    parser.set_defaults({kind: {"class_path": name}})
    if said:
        known = parser.get_defaults()[kind].get("init_args", {})
        kept = {option: value for option, value in said.items() if option in known}
        parser.set_defaults({kind: {"class_path": name, "init_args": kept}})


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def prepared(dataset: Dataset, encoder: Encoder, init: str | None = None) -> Encoder:
    """``encoder`` with what it takes from the training data, or has from a run, before a method is built around it.

    Raises:
        RunError: the run ``init`` has no encoder, or one that does not fit.
    """
    encoder.prepare(dataset)
    if init is not None:
        load_weights(encoder, Path(init) / "encoder" / WEIGHTS)
    return encoder


def _defaults(recipe: Recipe, sources: Sources) -> dict[str, Any]:
    plugin = recipe.plugin
    defaults: dict[str, Any] = {
        "recipe": recipe.name,
        **{name: getattr(sources, name) for name in SOURCES},
        "out": f"runs/{recipe.name.replace('/', '-')}",
        "method": {"class_path": _path(recipe.method.load())},
    }
    for kind, parts in (("views", plugin.views), ("encoder", plugin.encoders)):
        defaults[kind] = {"class_path": _path(next(iter(parts.values())).load())}
    for key, value in recipe.settings.items():
        if key == "data" and sources.contrasted:
            continue
        defaults[key] = (
            {"class_path": _path(plugin.part(_KINDS[key], value).load())} if _names_part(key, value) else value
        )
    if sources.contrasted:
        defaults["dataset"] = {"class_path": _path(Contrasted), "init_args": {"plugin": plugin.name}}
    elif sources.data is not None:
        defaults["dataset"] = {"class_path": _path(dataset_class(plugin, sources.data))}
    return defaults


_KINDS = {"dataset": "datasets", "views": "views", "encoder": "encoders"}


def _names_part(key: str, value: object) -> bool:
    return key in _KINDS and isinstance(value, str) and "." not in value


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def flatten(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Nested keywords -> command-line options: ``{"method": {"objective": "DCL"}}`` -> ``--method.objective=DCL``."""
    options: list[str] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and "class_path" not in value:
            options += flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            options.append(f"--{prefix}{key}={text}")
    return options


def parse(arguments: Sequence[str]) -> Namespace:
    """Command-line arguments (the recipe may stand first, bare) -> complete configuration.

    Raises:
        ConfigError: a misspelt recipe, key, class or value, with the nearest right one.
    """
    words = [_underscored(word) for word in arguments]
    if words and not words[0].startswith("-"):
        words[0] = f"--recipe={words[0]}"
    _check_once(words)
    peeked = _peek(words)
    if not peeked.get("recipe"):
        if "--help" in words or "-h" in words:
            build_parser().parse_args(["--help"])
        raise ConfigError("Which recipe? For example: counterpoint pretrain vision/simclr. See: counterpoint recipes")
    recipe = find_recipe(peeked["recipe"])
    register(recipe.plugin)
    sources = Sources.of(peeked)
    _check_sources(recipe, sources)
    if not sources:
        sources = Sources(recipe.settings.get("data"))
    parser = build_parser(recipe, sources, _chosen(peeked))
    try:
        config = parser.parse_args(words)
    except ArgumentError as error:
        raise ConfigError(explain(str(error), parser)) from None
    if not sources:
        raise ConfigError("--data is missing: a folder, a table, an archive, or the name of a data set")
    settings_of(config)
    Optimization(**config.optimization.as_dict())
    Stages(**config.stages.as_dict())
    config.pop("config", None)
    return config


def _check_once(words: Sequence[str]) -> None:
    """Of two sources by one option the first would be dropped without a word."""
    for option in (f"--{name}" for name in SOURCES):
        given = [number for number, word in enumerate(words) if word.partition("=")[0] == option]
        if len(given) > 1:
            found = " and ".join(words[n].partition("=")[2] or " ".join(words[n + 1 : n + 2]) for n in given)
            raise ConfigError(message(option, f"{len(given)} sources ({found})", "one source"))


def _check_sources(recipe: Recipe, sources: Sources) -> None:
    """A method that learns from a background and targets needs both: classes of one source mean something else."""
    method: type[Method] = recipe.method.load()
    if method.contrasted and not sources.contrasted:
        raise ConfigError(
            f"{recipe.name} learns from two sources instead of --data: --background (what is common) and --target "
            "(the same, and something more), each a folder, a table, an archive, or the name of a data set"
        )


def _underscored(word: str) -> str:
    """``--batch-size=64`` -> ``--batch_size=64``; people type both."""
    if not word.startswith("--"):
        return word
    key, equals, value = word.partition("=")
    return "--" + key[2:].replace("-", "_") + equals + value


CLASSES = ("dataset", "views", "encoder", "method")
"""Settings that are a class with options of its own."""


def _peek(words: Sequence[str]) -> dict[str, Any]:
    """Recipe, sources and classes, which decide what the parser is made of, before there is a parser."""
    found: dict[str, Any] = {}
    for number, word in enumerate(words):
        key, equals, value = word.partition("=")
        key = key.removesuffix(".class_path")
        if key not in ("--config", *(f"--{name}" for name in ("recipe", *SOURCES, *CLASSES))):
            continue
        if not equals:
            value = words[number + 1] if number + 1 < len(words) else ""
        if key == "--config":
            loaded = read_yaml(Path(value))
            found |= {k: loaded[k] for k in ("recipe", *SOURCES, *CLASSES) if loaded.get(k) is not None}
        else:
            found[key[2:]] = value
    return found


def _chosen(peeked: Mapping[str, Any]) -> dict[str, str]:
    """Kind -> name of the class that was asked for; at the shell it may be in a mapping, as JSON."""
    found = {}
    for kind in CLASSES:
        value = peeked.get(kind)
        if isinstance(value, str) and value.lstrip().startswith("{"):
            with suppress(yaml.YAMLError):
                value = yaml.safe_load(value)
        name = value.get("class_path") if isinstance(value, Mapping) else value
        if isinstance(name, str):
            found[kind] = name
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file as a dictionary (safe loader: no code is run).

    Raises:
        ConfigError: it is missing, is not YAML, or is not a mapping.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: is not YAML: {error}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"--config {path}: holds a {type(loaded).__name__}; a mapping of settings is needed")
    return loaded


def register(plugin: plugins.Plugin) -> None:
    """Import the plugin's classes, so that short names (``--encoder TinyViT``) are known to the parser."""
    import counterpoint.nn
    import counterpoint.objectives  # noqa: F401

    for kind in ("datasets", "views", "encoders", "methods"):
        for part in getattr(plugin, kind).values():
            part.load()


def instantiate(config: Namespace) -> Namespace:
    """Build the dataset, views, encoder and method that ``config`` names."""
    recipe = find_recipe(config.recipe)
    register(recipe.plugin)
    parser = build_parser(recipe, Sources.of(config), init=config.init)
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes
    try:
        built: Namespace = build(config)
    except ValueError as error:
        if isinstance(error.__cause__, CounterpointError):  # ours, in the parser's wrapping
            raise error.__cause__ from None
        raise
    return built


def dump(config: Namespace) -> str:
    """The complete configuration as YAML."""
    recipe = find_recipe(config.recipe)
    text: str = build_parser(recipe, Sources.of(config)).dump(config, skip_none=False)
    return text
