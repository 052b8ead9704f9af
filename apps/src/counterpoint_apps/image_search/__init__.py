"""Image search: the most similar pictures, by example. The command is imported only when it is run."""

from __future__ import annotations

from counterpoint.apps import App

app = App(
    name="image-search",
    summary="find the most similar pictures by example, as a table and as a picture",
    command="counterpoint_apps.image_search.command:main",
    plugin="vision",
)
