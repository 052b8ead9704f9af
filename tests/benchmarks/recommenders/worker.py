"""A process with one framework in it: ``python -m recommenders.worker FRAMEWORK MODEL SPLIT SEED``.

It answers each line of its input (a JSON list, the name of a method of `Case` and its arguments) with a line of JSON.
Processes wait while others work, so that cases can take turns though each has memory and patches of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[1]


class Worker:
    """The other side: starts the process and asks it."""

    def __init__(self, framework: str, model: str, split: Path, seed: int = 0, threads: int = 1) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="recommender-")
        self.home = Path(self._home.name)
        paths = os.pathsep.join([str(HERE), *(p for p in sys.path if p)])
        threaded = {name: str(threads) for name in ("OMP_NUM_THREADS", "COUNTERPOINT_THREADS", "MKL_NUM_THREADS")}
        self._told = (self.home / "stderr").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recommenders.worker", framework, model, str(split), str(seed)],
            cwd=self.home,
            env={**os.environ, **threaded, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            text=True,
        )
        self.built: dict[str, float] = self._answer()

    def ask(self, what: str, *arguments: Any) -> Any:
        """Call a method there."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, *arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        """Final embeddings of users and items."""
        with np.load(self.ask("embeddings")) as held:
            return held["users"], held["items"]

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError((self.home / "stderr").read_text()[-3000:])
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()
        self._told.close()
        self._home.cleanup()


def absent(framework: str) -> str:
    """Why a framework can't take part, or nothing."""
    if framework == "selfrec":
        if not (Path(os.environ.get("COUNTERPOINT_SELFREC", "absent")) / "SELFRec.py").is_file():
            return "COUNTERPOINT_SELFREC names no checkout"
        return "" if importlib.util.find_spec("numba") else "numba is not installed"
    if framework == "recbole":
        return "" if importlib.util.find_spec("recbole") else "not installed"
    return ""


@contextmanager
def started(frameworks: Iterable[str], model: str, pairs: Path, seed: int = 0) -> Iterator[dict[str, Worker]]:
    """A process for each framework that is there."""
    with ExitStack() as stack:
        there = [framework for framework in frameworks if not absent(framework)]
        yield {framework: stack.enter_context(Worker(framework, model, pairs, seed)) for framework in there}


def resident(name: str = "VmHWM") -> float:
    """MiB of memory that this process holds (``VmRSS``) or held at most (``VmHWM``)."""
    with Path("/proc/self/status").open() as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main(framework: str, model: str, split: str, seed: str) -> None:
    """Answer until the input ends."""
    from recommenders.case import Split

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the frameworks print is no answer
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    module = importlib.import_module(f"recommenders.{framework}")
    imported, pairs, began = resident("VmRSS"), Split.load(Path(split)), time.perf_counter()
    case = module.CASE(model, pairs, int(seed))

    def tell(answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    tell({"seconds": time.perf_counter() - began, "imported": imported})
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        tell(answered(case, what, arguments))


def answered(case: Any, what: str, arguments: list[Any]) -> Any:
    """One answer: a method's result, with its seconds where it gives a single number."""
    if what == "peak":
        return resident()
    if what == "embeddings":
        users, items = case.embeddings()
        np.savez("embeddings.npz", users=users, items=items)
        return str(Path("embeddings.npz").resolve())
    wall, cpu = time.perf_counter(), time.process_time()
    answer = getattr(case, what)(*arguments)
    if isinstance(answer, dict):
        return answer
    return {"value": answer, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    main(*sys.argv[1:])
