"""What a finished run leaves: the encoder with its card, and ``run.json`` with everything a result must name."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

from counterpoint._version import __version__
from counterpoint.errors import PluginError
from counterpoint.files import write_text
from counterpoint.methods.base import Method
from counterpoint.parts import Dataset, Encoder
from counterpoint.plugin import Plugin
from counterpoint.training.encoder_files import COMPOSED, object_in, registered, save_encoder
from counterpoint.training.hints import load
from counterpoint.training.recipes import find_recipe
from counterpoint.training.sources import Sources
from counterpoint.training.supervision import learnt

CARD = """---
library_name: counterpoint
tags: [self-supervised, contrastive-learning, {plugin}]
---

# {recipe}

An encoder {learnt} by Counterpoint {version}.

- data: `{data}` ({samples} training samples, digest `{digest}`)
- {stages}epochs: {epochs}, samples per step: {batch_size}, seed: {seed}

```python
import counterpoint as cp
run = cp.load("path/to/run")
embeddings = run.embed(run.open())  # of its own data: (N, D) float32, rows of length 1
{elsewhere}```
"""
ELSEWHERE = 'others = run.embed("path/to/data")  # of anything else that the plugin opens\n'


def is_first_process() -> bool:
    """Whether this process speaks for all (before ``torch.distributed`` is up: by the launcher's variables)."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))


def described(config: Namespace) -> dict[str, Any]:
    """What ``encoder/config.json`` says of encoder and views.

    Raises:
        PluginError: one of them could not be loaded again: it is not registered, or is given an object.
    """
    plugin = find_recipe(config.recipe).plugin
    found: dict[str, Any] = {"plugin": plugin.name}
    for kind, key in (("encoders", "encoder"), ("views", "views")):
        found[key] = _described_part(plugin, kind, config[key].as_dict())
    method: type[Method] = load(config.method.class_path)
    found["encoder"] = method.saved(found["encoder"], config.method.as_dict().get("init_args", {}))
    return found


def _described_part(plugin: Plugin, kind: str, part: dict[str, Any]) -> dict[str, Any]:
    """See `described`; of an encoder that is made of several, each of them."""
    arguments = part.get("init_args") or {}
    if kind == "encoders" and part["class_path"] in COMPOSED:
        inner = [_described_part(plugin, kind, one) for one in arguments.get("encoders", [])]
        return {**part, "init_args": {**arguments, "encoders": inner}}
    name = registered(plugin, kind, part["class_path"])
    if name is None:
        raise PluginError(
            f"{part['class_path']} is none of the {kind} that plugin {plugin.name!r} registers, so a saved encoder "
            "could not be loaded again. Register it in the plugin."
        )
    nested = object_in(arguments)
    if nested is not None:
        raise PluginError(
            f"{part['class_path']} is given an object of {nested}, so a saved encoder could not be loaded again. "
            "Give it plain values."
        )
    if kind == "encoders":  # weights that came from elsewhere are in the run now, and their source may go
        part["init_args"] = plugin.encoders[name].load().blank(arguments)
    return part


def _named(sources: Sources) -> str:
    """The sources without their folders, which are nobody's business where the encoder goes."""
    given = [getattr(sources, name) for name in ("target", "background", "data")]
    return "` against `".join(Path(source).name for source in given if source is not None)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a training was.

    Attributes:
        samples: of the training split.
        steps: optimiser updates done.
        seconds: that it took (since it was resumed, if it was).
        rate: samples per second over all processes.
        selected: which epoch's encoder is kept, and by what, where one was chosen.
        processes: that trained together.
        untimed: updates before it was resumed, if it was: seconds and rate leave them out.
        stages: what each stage was, where there were several.
    """

    samples: int
    steps: int
    seconds: float
    rate: float
    selected: Mapping[str, Any] | None = None
    processes: int = 1
    untimed: int = 0
    stages: Sequence[Mapping[str, Any]] = ()


def export(
    out: Path, config: Namespace, encoder: Encoder, told: Mapping[str, Any], dataset: Dataset, facts: Facts
) -> None:
    """Write ``encoder/`` and ``run.json``.

    Args:
        out: run directory.
        config: complete configuration.
        encoder: trained.
        told: what `described` says of it.
        dataset: what it was trained on.
        facts: about the training.
    """
    digest = dataset.digest()
    card = CARD.format(
        plugin=config.recipe.partition("/")[0],
        recipe=config.recipe,
        version=__version__,
        learnt=learnt(config.method.as_dict(), dataset),
        data=_named(Sources.of(config)),
        samples=facts.samples,
        digest=digest[:16],
        epochs=config.epochs,
        batch_size=config.batch_size * facts.processes,
        seed=config.seed,
        stages=f"stages: {len(facts.stages)}, of each " if facts.stages else "",
        elsewhere="" if encoder.transductive else ELSEWHERE,
    )
    save_encoder(out / "encoder", encoder, told, card)
    result = {
        "recipe": config.recipe,
        "data": str(Sources.of(config)),
        "digest": digest,
        "samples": facts.samples,
        "seed": config.seed,
        "steps": facts.steps,
        **({"selected": dict(facts.selected)} if facts.selected else {}),
        "seconds": round(facts.seconds, 3),
        "samples_per_second": round(facts.rate, 1),
        **({"untimed": facts.untimed} if facts.untimed else {}),
        "processes": facts.processes,
        **({"stages": [dict(stage) for stage in facts.stages]} if facts.stages else {}),
        "versions": versions(),
        "machine": machine(),
    }
    write_text(out / "run.json", json.dumps(result, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    names = ["counterpoint", "torch", "lightning", "numpy", "scikit-learn"]
    found = {d.name: d.version for d in metadata.distributions() if (d.name or "").startswith("counterpoint-")}
    return {"python": platform.python_version(), **{n: metadata.version(n) for n in names}, **found}


def machine() -> dict[str, Any]:
    """What the run ran on."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu}
