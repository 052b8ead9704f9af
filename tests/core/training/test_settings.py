"""The numbers of a pretraining: their limits, and how many threads it takes."""

from __future__ import annotations

import os
from argparse import Namespace

import pytest
import torch

from counterpoint.errors import ConfigError
from counterpoint.training.settings import Optimization, Settings, default_threads, set_threads, settings_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("micro_batch", 0),
        ("workers", -1),
        ("threads", 0),
        ("num_nodes", 0),
        ("save_steps", 0),
        ("monitor_steps", 0),
        ("monitor_epochs", 0),
        ("max_steps", 0),
        ("seed", -1),
        ("save_minutes", 0),
    ],
)
def test_limits_name_the_setting(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: found {value}; allowed: "):
        Settings(**{key: value})


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("warmup", 1.1, r"optimization.warmup: found 1.1; allowed: a share from 0 to 1"),
        ("final_lr", -0.1, r"optimization.final_lr: found -0.1; allowed: a share from 0 to 1"),
        ("lr", -1.0, r"optimization: found lr=-1.0, weight_decay=0.0001; allowed: numbers from 0"),
        ("betas", (0.9, 1.0), r"optimization.betas: found \(0.9, 1.0\); allowed: two numbers from 0 up to but not 1"),
        ("betas", (-0.1, 0.9), r"optimization.betas: found \(-0.1, 0.9\)"),
        ("weight_decay", -1.0, r"optimization: found lr=0.001, weight_decay=-1.0; allowed: numbers from 0"),
    ],
)
def test_limits_of_the_optimisation(key: str, value: float | tuple[float, float], allowed: str) -> None:
    with pytest.raises(ConfigError, match=allowed):
        Optimization(**{key: value})


def test_limits_themselves_are_allowed() -> None:
    Settings(epochs=1, batch_size=2, micro_batch=1, workers=0, threads=1, max_steps=1, save_steps=1, seed=0)
    Optimization(lr=0, weight_decay=0, betas=(0, 0), warmup=1, final_lr=1)


def test_settings_of_checks_too() -> None:
    good = Namespace(**{key: getattr(Settings(), key) for key in Settings.__dataclass_fields__}, more="ignored")
    assert settings_of(good) == Settings()
    good.batch_size = 0
    with pytest.raises(ConfigError, match="batch_size: found 0"):
        settings_of(good)


def test_threads_leave_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUNTERPOINT_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert default_threads() == 5
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert default_threads() == 1


def test_threads_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_THREADS", "3")
    assert default_threads() == 3
    assert set_threads(None) == 3
    assert torch.get_num_threads() == 3
    assert set_threads(1) == 1
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("named", ["0", "many", "-2", "1.5", "²"])
def test_threads_that_are_no_number(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_THREADS", named)
    with pytest.raises(ConfigError, match=r"\$COUNTERPOINT_THREADS: found .*; allowed: a whole number from 1"):
        default_threads()
