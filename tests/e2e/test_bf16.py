"""bf16 by configuration: it takes steps, also past damaged samples, and the weights stay float32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from counterpoint.training.logs import read_metrics
from forks import Forks

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SMALL = [
    "--data=digits",
    "--dataset.count=200",
    "--max_steps=3",
    "--batch_size=32",
    "--tensorboard=false",
    "--report=false",
    "--monitor_steps=1",
]


@pytest.mark.parametrize("method", ["simclr", "swav"])
def test_bf16_takes_steps(method: str, forks: Forks, tmp_path: Path) -> None:
    losses = {}
    for precision in ("bf16-mixed", "32-true"):
        out = tmp_path / precision
        more = [f"--out={out}", f"--precision={precision}", "--accelerator=cpu", "--dataset.damaged=10"]
        done = forks.run(["pretrain", f"toy/{method}", *SMALL, *more])
        assert done.code == 0, done.err
        assert json.loads((out / "run.json").read_text())["steps"] == 3
        assert {w.dtype for w in load_file(out / "encoder" / "model.safetensors").values()} == {torch.float32}
        losses[precision] = [value for _, value in read_metrics(out)["train/loss"]]
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.05)
    assert losses["bf16-mixed"] != losses["32-true"], "bf16 was not used"
