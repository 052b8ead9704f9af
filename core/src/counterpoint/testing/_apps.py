"""Checks of the apps that show this plugin's tasks."""

from __future__ import annotations

import contextlib
import io

from counterpoint.testing.registry import check, require
from counterpoint.testing.session import Session


@check("apps")
def loads(session: Session, name: str) -> None:
    """It is listed under its own name with a line, and its command can be imported and called."""
    app = session.apps[name]
    require(app.name == name, "name", repr(app.name), f"{name!r}, as its entry point says")
    require(app.summary.strip() and "\n" not in app.summary, "summary", repr(app.summary), "one line")
    require(callable(app.load()), app.command, "something that cannot be called", "a function of words")


@check("apps", after=("apps/loads",))
def helps(session: Session, name: str) -> None:
    """``counterpoint app NAME --help`` says how it is used."""
    code, told = called(session, name, ["--help"])
    require(code == 0, "exit code of --help", code, 0)
    require("usage" in told.lower(), "--help", repr(told[:80]), "a text with its usage")


@check("apps", after=("apps/loads",))
def refuses(session: Session, name: str) -> None:
    """A word that it does not know is refused by another exit code than 0, or by one of our errors."""
    code, _ = called(session, name, ["no-such-verb-of-anything"])
    require(code != 0, "exit code for an unknown word", code, "1 or 2")


def called(session: Session, name: str, words: list[str]) -> tuple[int, str]:
    """Exit code and output of the app's command."""
    from counterpoint.errors import CounterpointError

    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            code = session.apps[name].load()(words)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except CounterpointError as error:
            return 1, str(error)
    return code, told.getvalue()
