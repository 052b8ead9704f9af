"""Pairs of modalities against open_clip: gradients over two processes, the input pipeline, and a training step.

How long the losses take and how much memory, beside open_clip's, is in test_losses.
"""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import measure
import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from test_training import STEP, Clock
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.methods import Pair
from counterpoint.objectives import InfoNCE, Sigmoid
from counterpoint.training.optimizers import configure
from counterpoint.training.settings import Optimization
from counterpoint.types import View
from counterpoint_multimodal.data import PairTable
from counterpoint_multimodal.data.examples import toy
from counterpoint_multimodal.encoders import TwoTowers
from counterpoint_multimodal.encoders.text import texts
from counterpoint_multimodal.views import PairViews

pytestmark = pytest.mark.bench

SMOKE = measure.smoke()
ROWS, DIM, T, BIAS = 8 if SMOKE else 64, 32, 0.1, -10.0
RANKS = 2
JPEGS, HEIGHT, WIDTH, SIZE = (8, 60, 80, 32) if SMOKE else (128, 300, 400, 224)
PIPELINE = 2.0
WORDS = "red blue green old new small large wooden shoe chair watch table lamp with of for a the".split()  # noqa: SIM905
RESULTS: dict[str, object] = {}


def save(name: str, found: dict[str, object]) -> None:
    """Put one table into pairs.json, beside those that ran before it."""
    RESULTS[name] = found
    measure.write("pairs", RESULTS)


def losses(rank: int = 0, ranks: int = 1) -> dict[str, dict[str, Any]]:
    """Loss -> whose -> call with the embeddings of this rank's rows."""
    softmax, sigmoid = InfoNCE(T), Sigmoid(T, BIAS, learnable_temperature=False, learnable_bias=False)
    found: dict[str, dict[str, Any]] = {
        "softmax": {"ours": lambda a, b: softmax([a, b]).loss},
        "sigmoid": {"ours": lambda a, b: sigmoid([a, b]).loss},
    }
    if importlib.util.find_spec("open_clip"):
        from open_clip.loss import ClipLoss, SigLipLoss

        scale, bias = torch.tensor(1 / T), torch.tensor(BIAS)
        place = {"rank": rank, "world_size": ranks}
        clips = {
            "open_clip, as it comes": ClipLoss(**place),
            "open_clip, gather_with_grad": ClipLoss(gather_with_grad=True, **place),
            "open_clip, local_loss and gather_with_grad": ClipLoss(local_loss=True, gather_with_grad=True, **place),
        }
        siglip = SigLipLoss(**place)
        for name, clip in clips.items():
            found["softmax"][name] = lambda a, b, clip=clip: clip(F.normalize(a), F.normalize(b), scale)
        found["sigmoid"]["open_clip, as it comes"] = lambda a, b: siglip(F.normalize(a), F.normalize(b), scale, bias)
    return found


def towers() -> tuple[nn.Module, Tensor]:
    """One linear map for each side, and inputs of all ranks."""
    torch.manual_seed(0)
    return nn.ModuleList([nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)]), torch.randn(2, ROWS, DIM)


def gradient(call: Any, rows: slice, average: bool) -> Tensor:
    """All gradients of the two maps in one vector; over processes averaged, as DDP does."""
    module, inputs = towers()
    call(*(tower(x[rows]) for tower, x in zip(module, inputs))).backward()
    flat = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    if average:
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
    return flat


def one_rank(rank: int, folder: str) -> None:
    """What one of the processes does: its rows of the batch, by every loss."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/meet", rank=rank, world_size=RANKS, timeout=timedelta(seconds=120)
    )
    rows = slice(rank * ROWS // RANKS, (rank + 1) * ROWS // RANKS)
    found = {
        name: {whose: gradient(call, rows, average=True).tolist() for whose, call in calls.items()}
        for name, calls in losses(rank, RANKS).items()
    }
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_gradients_of_two_processes_are_those_of_one_batch(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_rank, (str(tmp_path),), nprocs=RANKS)
    two = json.loads((tmp_path / "found.json").read_text())
    for name, calls in losses().items():
        whole = gradient(calls["ours"], slice(None), average=False)
        errors, lengths = {}, {}
        for whose, values in two[name].items():
            found = torch.tensor(values)
            errors[whose] = float((found - whole).norm() / whole.norm())
            lengths[whose] = round(float(found.norm() / whole.norm()), 4)
        print(f"\n{name}: error {errors}, length {lengths}")
        told = {case: float(f"{value:.2g}") for case, value in errors.items()}
        save(f"{name}, two processes", {"relative error of the gradient": told, "times its length": lengths})
        assert errors["ours"] < 1e-5


def catalogue(folder: Path) -> Path:
    """A table of JPEG files and captions of six to nine words."""
    draw = np.random.default_rng(0)
    (folder / "images").mkdir()
    rows = [("image", "caption")]
    for number in range(JPEGS):
        coarse = draw.integers(0, 256, (HEIGHT // 10, WIDTH // 10, 3), dtype=np.uint8)
        name = f"images/{number}.jpg"
        Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(folder / name, quality=90)
        rows.append((name, " ".join(draw.choice(WORDS, draw.integers(6, 10)))))
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "table.csv"


def by_open_clip(folder: Path) -> Callable[[], object]:
    """Its training transform and tokenizer, a file at a time, as its datasets do."""
    from open_clip import SimpleTokenizer, image_transform

    transform, tokenizer = image_transform(SIZE, is_train=True), SimpleTokenizer()
    with (folder / "table.csv").open() as file:
        rows = [(folder / row["image"], row["caption"]) for row in csv.DictReader(file)]

    def run() -> object:
        images = torch.stack([transform(Image.open(path)) for path, _ in rows])
        return images, torch.stack([tokenizer([caption])[0] for _, caption in rows])

    return run


def test_input_pipeline(tmp_path: Path) -> None:
    """From JPEG files and captions to a batch of crops and token ids; crops of 90 to 100 % of the area, by both."""
    data = PairTable(str(catalogue(tmp_path)))
    towers = TwoTowers()
    towers.prepare(data)
    views, generator = PairViews(SIZE, image_options={"scale": (0.9, 1.0)}), torch.Generator().manual_seed(0)
    rows = list(range(len(data)))

    def ours() -> object:
        image, text = views(data.batch(rows), generator)
        return image, towers.tokenize(texts(text))

    cases = {"ours": ours}
    if importlib.util.find_spec("open_clip"):
        cases["open_clip"] = by_open_clip(tmp_path)
    times = measure.interleaved(cases, repeats=2 if SMOKE else 7)
    rate = {case: round(JPEGS / t.cpu, 1) for case, t in times.items()}
    print(f"\npairs per second: {rate}")
    what = f"pairs per second of one thread, JPEGs of {WIDTH} x {HEIGHT} to {SIZE} pixels, and token ids"
    save("input pipeline", {"what": what, "pairs per second": rate, "target": f"{PIPELINE} times open_clip"})
    if not SMOKE and "open_clip" in rate:
        assert rate["ours"] >= PIPELINE * rate["open_clip"]


def test_step_through_the_trainer(tmp_path: Path) -> None:
    """A step of CLIP through the trainer, against both towers forward and backward and nothing else."""
    torch.manual_seed(0)
    toy(tmp_path)
    data = PairTable(str(tmp_path / "pairs.csv"))
    encoder = TwoTowers()
    encoder.prepare(data)
    rows = (list(range(len(data))) * 6)[: 16 if SMOKE else 256]
    batch = data.batch(rows)
    made = PairViews()(batch, torch.Generator().manual_seed(0))
    method = Pair(encoder, projector=nn.Identity)
    method.total_steps, method.optimization = 1000, lambda m: configure(m, Optimization())

    def bare() -> None:
        sum((encoder(view).pooled.sum() for view in made), torch.zeros(())).backward()
        encoder.zero_grad()

    steps, best = 2 if SMOKE else 8, {"bare towers": float("inf"), "our step": float("inf")}
    for _ in range(1 if SMOKE else 3):  # in turns, so that a busy minute hits both
        encoder.train()
        best["bare towers"] = min(best["bare towers"], measure.interleaved({"bare": bare}, repeats=steps)["bare"].cpu)
        clock = Clock()
        trainer = _trainer(steps, clock, tmp_path)
        trainer.fit(method, torch.utils.data.DataLoader([(batch, list[View](made))] * steps, batch_size=None))
        best["our step"] = min(best["our step"], *clock.seconds)
    ratio = best["our step"] / best["bare towers"]
    print(f"\nstep: {best}, {ratio:.3f}")
    seconds = {key: round(value, 4) for key, value in best.items()}
    what = f"processor seconds of one thread, batch {len(rows)}; our step: all but making the views"
    save("step", {"what": what, "seconds": seconds, "times the bare towers": round(ratio, 3), "target": STEP})
    if not SMOKE:
        assert ratio <= STEP


def _trainer(steps: int, clock: Clock, folder: Path) -> Trainer:
    return Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=[clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
