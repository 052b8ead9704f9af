"""A training step through the trainer against the bare encoder, and the command line's answer time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import measure
import pytest
import torch
from lightning import Callback, Trainer

from counterpoint.methods import SimCLR
from counterpoint.parts import Encoder
from counterpoint.training.optimizers import configure
from counterpoint.training.settings import Optimization
from counterpoint.types import Batch, View
from counterpoint_vision.encoders import SlimResNet, Timm
from counterpoint_vision.views import SimCLRViews

pytestmark = pytest.mark.bench

STEP, START = 1.15, 0.3
RESULTS: dict[str, object] = {}


def save(name: str, found: dict[str, object]) -> None:
    """Put one table into training.json, beside those that ran before it."""
    RESULTS[name] = found
    measure.write("training", RESULTS)


class Clock(Callback):
    """Processor seconds of each step, from the batch's arrival to the end of the optimiser's step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        self._began = time.process_time()

    def on_train_batch_end(self, *_: object) -> None:
        self.seconds.append(time.process_time() - self._began)


@pytest.mark.parametrize(
    ("name", "batch"), [("timm resnet18", 64), ("SlimResNet", 256)], ids=lambda value: str(value).replace(" ", "-")
)
def test_step_through_the_trainer(name: str, batch: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    rows = 4 if measure.smoke() else batch
    encoder: Encoder = Timm("resnet18") if name.startswith("timm") else SlimResNet()
    images = torch.randint(0, 256, (rows, 3, 32, 32), dtype=torch.uint8)
    samples = Batch({"image": images}, torch.arange(rows), torch.arange(rows))
    views = SimCLRViews()(samples, torch.Generator().manual_seed(0))
    both = View(torch.cat([view.data for view in views]), "image")

    def bare() -> None:
        encoder(both).pooled.sum().backward()
        encoder.zero_grad()

    method = SimCLR(encoder)
    method.total_steps = 1000
    method.optimization = lambda m: configure(m, Optimization())
    steps = 2 if measure.smoke() else 8
    best = {"bare encoder": float("inf"), "our step": float("inf"), "views": float("inf")}
    for _ in range(1 if measure.smoke() else 3):  # in turns, so that a busy minute hits both
        encoder.train()
        bare_times = measure.interleaved({"bare": bare}, repeats=steps)
        clock = Clock()
        trainer = Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            callbacks=[clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(method, torch.utils.data.DataLoader([(samples, views)] * steps, batch_size=None))
        made = measure.interleaved({"views": lambda: SimCLRViews()(samples, torch.Generator())}, repeats=3)
        best["bare encoder"] = min(best["bare encoder"], bare_times["bare"].cpu)
        best["our step"] = min(best["our step"], *clock.seconds)
        best["views"] = min(best["views"], made["views"].cpu)
    ratio = best["our step"] / best["bare encoder"]
    save(
        f"step of {name} at batch {rows}",
        {
            "what": "processor seconds of one thread on the same two views; our step: all but making the views",
            "seconds": {key: round(value, 4) for key, value in best.items()},
            "times the bare encoder": round(ratio, 3),
            "target": STEP,
        },
    )
    if not measure.smoke():
        assert ratio <= STEP


def test_the_command_line_answers_at_once() -> None:
    found: dict[str, float] = {}
    for words in (["--help"], ["plugins"]):
        best = float("inf")
        for _ in range(2 if measure.smoke() else 10):
            began = time.perf_counter()
            subprocess.run([Path(sys.executable).with_name("counterpoint"), *words], check=True, capture_output=True)
            best = min(best, time.perf_counter() - began)
        found["counterpoint " + words[0]] = round(best, 3)
    save("start", {"what": "wall seconds until the answer", "seconds": found, "target": START})
    if not measure.smoke():
        assert max(found.values()) < START
