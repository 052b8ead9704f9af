"""Counterpoint: contrastive self-supervised learning for every modality.

::

    import counterpoint as cp
    run = cp.pretrain("vision/simclr", data="photos/", epochs=20)
    embeddings = run.embed("photos/")  # (N, D) float32, rows of length 1

Importing it loads no torch; the names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from counterpoint._version import __version__

if TYPE_CHECKING:
    from counterpoint.parts import Dataset, Encoder, Task, Towers, Views
    from counterpoint.plugin import Part, Plugin
    from counterpoint.run import Run, load
    from counterpoint.types import Batch, Damaged, Encoding, Sample, Step, View
    from counterpoint.workflow import evaluate, finetune, pretrain

_WHERE = {
    "Batch": "types",
    "Damaged": "types",
    "Dataset": "parts",
    "Encoder": "parts",
    "Encoding": "types",
    "Part": "plugin",
    "Plugin": "plugin",
    "Run": "run",
    "Sample": "types",
    "Step": "types",
    "Task": "parts",
    "Towers": "parts",
    "View": "types",
    "Views": "parts",
    "evaluate": "workflow",
    "finetune": "workflow",
    "load": "run",
    "pretrain": "workflow",
}

__all__ = [
    "Batch",
    "Damaged",
    "Dataset",
    "Encoder",
    "Encoding",
    "Part",
    "Plugin",
    "Run",
    "Sample",
    "Step",
    "Task",
    "Towers",
    "View",
    "Views",
    "__version__",
    "evaluate",
    "finetune",
    "load",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'counterpoint' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    return getattr(import_module(f"counterpoint.{module}"), attribute or name)


def __dir__() -> list[str]:
    return __all__
