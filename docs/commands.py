"""Tables of commands and settings for the reference, from the very parsers that answer ``--help``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from unittest import mock

from counterpoint import apps, cli
from counterpoint.plugin import Part, Plugin

PRETRAIN = ("pretrain", "vision/simclr", "--help")
SHOWN_ELSEWHERE = {
    "config",
    "print_config",
    "print_shtab",
    "optimization",
    "stages",
}  # of the settings: options, no settings


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def parser_behind(run: Callable[[Sequence[str]], Any], words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser that answers ``words`` (which end in ``--help``): caught at the moment when it would print."""
    caught: list[argparse.ArgumentParser] = []
    catch = mock.patch.object(argparse.ArgumentParser, "print_help", lambda self, file=None: caught.append(self))
    with catch, suppress(SystemExit):
        run(words)
    return caught[0]


def verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """The parsers of sub-commands, with the line that lists them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {choice.dest: choice.help or "" for choice in action._choices_actions}
            yield from ((sub, told.get(name, "")) for name, sub in action.choices.items())


def cell(text: object) -> str:
    """``text`` on one line, fit for a cell of a Markdown table."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").strip().rstrip(".")


def prose(text: object) -> str:
    """A line of help as Markdown: double backticks are single ones, options are code, ``<name>`` is no tag."""
    return re.sub(r"(?<![`\w])--[\w.-]+", r"`\g<0>`", cell(text).replace("``", "`").replace("<", "&lt;"))


def _rows(parser: argparse.ArgumentParser) -> list[list[str]]:
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        if action.option_strings and action.nargs != 0:
            name += f" {'|'.join(map(str, action.choices or ())) or action.metavar or action.dest.upper()}"
        need = " (required)" if action.required and action.option_strings else ""
        rows.append([f"`{cell(name)}`", prose(action.help or "") + need])
    return rows


def _examples(parser: argparse.ArgumentParser) -> list[str]:
    """The examples that ``--help`` shows."""
    told = f"{parser.description or ''}\n{parser.epilog or ''}"
    lines = [line.strip() for line in told.splitlines()]
    examples = "\n".join(line for line in lines if line.startswith("counterpoint "))
    return [f"```text\n{examples}\n```"] if examples else []


def _section(parser: argparse.ArgumentParser, level: int, told: str) -> list[str]:
    text = prose(told)
    parts = [f"{'#' * level} `{parser.prog}`", f"{text[:1].upper()}{text[1:]}."]
    rows = _rows(parser)
    return [*parts, *([table(["argument", "meaning"], rows)] if rows else []), *_examples(parser)]


def command_line() -> str:
    """Every command but the apps: arguments, meaning, examples."""
    parts = []
    for parser, told in verbs(parser_behind(cli.main, ["--help"])):
        parts += _section(parser, 2, told)
        if parser.prog.endswith(" pretrain"):  # it parses its own words: they depend on the recipe
            parts += [table(["argument", "meaning"], PRETRAIN_WORDS), *_examples(parser_behind(cli.main, PRETRAIN))]
    return "\n\n".join(parts)


PRETRAIN_WORDS = [
    ["`RECIPE`", "plugin/method, e.g. `vision/simclr`"],
    ["`--SETTING VALUE`", "any of the [settings](settings.md)"],
    ["`--config FILE`", "a YAML file with any of them; what stands on the command line wins"],
    ["`--print_config`", "show the complete configuration and stop"],
    ["`--encoder.help NAME`", "options of an encoder; the same for `dataset`, `views` and `method`"],
    ["`--resume RUN`", "go on with an unfinished run, exactly as it was configured"],
    ["`--overwrite`", "start again in a directory that holds a run"],
]


def app_commands() -> str:
    """Every verb of every app that is installed and ours."""
    parts = []
    for name, app in apps.apps().items():
        if not isinstance(app, apps.App) or not app.command.startswith("counterpoint_apps."):
            continue
        parts += [f"## `counterpoint app {name}`", f"{app.summary}. Needs `counterpoint-{app.plugin}`."]
        for parser, told in verbs(parser_behind(app.load(), ["--help"])):
            parts += _section(parser, 3, told)
    return "\n\n".join(parts)


def _default(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "`true`", False: "`false`"}.get(value, "")  # type: ignore[arg-type]
    return f"`{value}`"


def _setting(action: argparse.Action) -> list[str]:
    of_the_recipe = action.dest in ("recipe", "data", "out", "dataset", "views", "encoder", "method")
    default = "" if of_the_recipe else _default(action.default)
    return [f"`{action.dest}`", default, prose(action.help or "")]


def settings() -> str:
    """Settings of ``counterpoint pretrain``, group by group, with defaults."""
    parts = []
    for group in parser_behind(cli.main, PRETRAIN)._action_groups:
        actions = [a for a in group._group_actions if a.option_strings and a.dest not in SHOWN_ELSEWHERE]
        plain = [a for a in actions if a.option_strings[0] == f"--{a.dest}" and not a.dest.endswith(".help")]
        rows = [_setting(action) for action in plain]
        if rows:
            title = "What is trained, on what" if group.title == "options" else str(group.title)
            parts += [f"## {title[:1].upper()}{title[1:]}", table(["setting", "default", "meaning"], rows)]
    return "\n\n".join(parts)


def recipe_settings(found: Sequence[Plugin]) -> str:
    """What each recipe sets that its method does not by itself."""
    rows = []
    for plugin in found:
        for method, given in plugin.recipes.items():
            told = ", ".join(f"`{key}: {value}`" for key, value in given.items())
            rows.append([f"`{plugin.name}/{method}`", told])
    return table(["recipe", "settings"], rows)


def classes(found: Sequence[Plugin], kinds: Sequence[str]) -> str:
    """Directives that show the class behind every part, with its options."""
    parts: list[str] = []
    seen: set[str] = set()
    for plugin in found:
        for kind in kinds:
            for name, part in getattr(plugin, kind).items():
                parts += [f"### {plugin.name}: {kind}: `{name}`", _shown(part, seen)]
        if plugin.protocol is not None:
            parts += [f"### {plugin.name}: protocol", _shown(plugin.protocol, seen)]
    return "\n\n".join(parts)


def _shown(part: Part, seen: set[str]) -> str:
    """The class; or, of the core's, which have pages of their own, and of one shown before, its name and a link."""
    name = part.target.replace(":", ".")
    if name.startswith("counterpoint.") or name in seen:
        return f"```{{eval-rst}}\n:class:`{name}`, with other defaults.\n```"
    seen.add(name)
    return f"```{{eval-rst}}\n.. autoclass:: {name}\n```"
