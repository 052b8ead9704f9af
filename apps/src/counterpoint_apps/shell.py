"""What the apps' commands have in common: forms of an answer, checked numbers, words beside the answer."""

from __future__ import annotations

import argparse
import sys
from typing import TypeAlias

from counterpoint.errors import ConfigError, message

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_verb(verbs: Verbs, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    """A verb of an app: ``text`` in the list and above its options, ``epilog`` below them as it is written."""
    made = verbs.add_parser(
        name,
        help=text,
        description=f"{text}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return made


def add_forms(verb: argparse.ArgumentParser) -> None:
    """``--json`` and ``--csv``; without them an answer is a table (``form``)."""
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="print JSON")
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help="print CSV")
    verb.set_defaults(form="table")


def add_address(verb: argparse.ArgumentParser) -> None:
    """``--host``, ``--port`` and ``--open`` of a page."""
    host = "address to listen on (default: 127.0.0.1, this machine only)"
    verb.add_argument("--host", default="127.0.0.1", help=host)
    verb.add_argument("--port", type=int, default=7860, help="port (default: 7860; 0: any that is free)")
    verb.add_argument("--open", action="store_true", help="open the page in the browser")


def at_least(name: str, value: int, least: int) -> int:
    """``value``, checked.

    Raises:
        ConfigError: it is less.
    """
    if value < least:
        raise ConfigError(message(name, value, f"a whole number from {least}"))
    return value


def tell(text: str) -> None:
    """A message beside the answer: to standard error, so that what is piped on stays JSON or CSV."""
    print(text, file=sys.stderr)
