"""Image search: the most similar pictures, by example. The command is imported only when it is run."""

from __future__ import annotations

from counterpoint.apps import App

app = App(
    name="image-search",
    summary="find the most similar pictures by example and near-duplicates, at the shell and in the browser",
    command="counterpoint_apps.image_search.command:main",
    plugin="vision",
    requires=("lancedb>=0.30", "filelock>=3.12", "gradio>=6"),
    install="pip install 'counterpoint-apps[image-search]'",
)
