"""Picture search: pictures by words, by a picture, by both. The command is imported only when it is run."""

from __future__ import annotations

from counterpoint.apps import App

app = App(
    name="picture-search",
    summary="find pictures by words, by a picture and by both, and sort them into classes that are only named",
    command="counterpoint_apps.picture_search.command:main",
    plugin="multimodal",
    requires=("lancedb>=0.30", "filelock>=3.12", "gradio>=6"),
    install="pip install 'counterpoint-apps[picture-search]'",
)
