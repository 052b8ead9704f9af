"""The monitor under DDP, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from counterpoint.training.logs import read_metrics
from counterpoint.training.scores import read_scores

pytestmark = pytest.mark.slow

TWO_PROCESSES = """
import sys
from pathlib import Path

import torch
from conftest import Lab, Pairs, Toy
from lightning.pytorch import Trainer

from counterpoint.training.logs import MetricsLog
from counterpoint.training.monitors import Monitor

torch.set_num_threads(1)
torch.manual_seed(0)
run, module = Path(sys.argv[1]), Toy()
trainer = Trainer(
    accelerator="cpu", strategy="ddp_fork", devices=2, max_epochs=2, logger=[MetricsLog(run)],
    callbacks=[Monitor(Lab(run).embed(module), every_n_steps=4)],
    enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, use_distributed_sampler=False,
)
trainer.fit(module, train_dataloaders=Pairs())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no fork")
def test_two_processes_write_one_log(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TWO_PROCESSES, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    metrics = read_metrics(tmp_path)
    assert [step for step, _ in metrics["train/loss"]] == [1, 4, 8, 10, 12, 16, 20], "each row once"
    assert metrics["data/damaged"] == [(10, 2.0), (20, 2.0)], "of both processes"
    assert [step for step, _ in metrics["val/knn[k=20,T=0.07]"]] == [10, 20]
    assert [h.step for h in read_scores(tmp_path)] == [10, 10, 20, 20]
