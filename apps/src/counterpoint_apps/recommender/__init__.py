"""Recommender: a table of who touched what in, recommendations with reasons out. The command is imported when run."""

from __future__ import annotations

from counterpoint.apps import App

app = App(
    name="recommender",
    summary="learn from a table of who touched what, and recommend, with reasons, at the shell and in the browser",
    command="counterpoint_apps.recommender.command:main",
    plugin="graphrec",
    requires=("gradio>=6",),
    install="pip install 'counterpoint-apps[recommender]'",
)
