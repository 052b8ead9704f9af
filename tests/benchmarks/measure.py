"""How every benchmark measures: interleaved, minimum of n, memory in a fresh process, one JSON file of results.

Cases take turns, so that a busy minute of the machine hits all of them alike; the least wall and processor time of
each counts. Memory is the growth of the peak resident set during one call, in a process of its own.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
PEERS = (
    "albumentations",
    "faiss-cpu",
    "kornia",
    "lightly",
    "open-clip-torch",
    "pytorch-metric-learning",
    "recbole",
    "scikit-learn",
    "torchvision",
)


@dataclass(slots=True)
class Timing:
    """Least seconds of one case over the repeats."""

    wall: float = float("inf")
    cpu: float = float("inf")


def smoke() -> bool:
    """Whether only small sizes are wanted (``COUNTERPOINT_BENCH=smoke``): does it run, not how fast is it."""
    return os.environ.get("COUNTERPOINT_BENCH") == "smoke"


def interleaved(cases: Mapping[str, Callable[[], object]], repeats: int = 5, warm: bool = True) -> dict[str, Timing]:
    """Time the cases in turns; each runs once unmeasured first."""
    if warm:
        for case in cases.values():
            case()
    found = {name: Timing() for name in cases}
    for _ in range(repeats):
        for name, case in cases.items():
            wall, cpu = time.perf_counter(), time.process_time()
            case()
            timing = found[name]
            timing.cpu = min(timing.cpu, time.process_time() - cpu)
            timing.wall = min(timing.wall, time.perf_counter() - wall)
    return found


_FRESH = """
import resource, sys
def peak():
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
{setup}
try:
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")  # the peak starts again from what is resident now
except OSError:
    pass
before = peak()
{call}
print(peak() - before)
"""


def memory(setup: str, call: str, repeats: int = 3) -> float:
    """MiB by which the peak resident set grows while a fresh process runs ``call`` after ``setup`` (Python source).

    The most of ``repeats`` processes: how much the allocator has at hand differs from one to the next.
    """
    return max(_memory(setup, call) for _ in range(1 if smoke() else repeats))


def _memory(setup: str, call: str) -> float:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    code = _FRESH.format(setup=setup, call=call)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the fresh process failed:\n{done.stderr}")
    return int(done.stdout.split()[-1]) / 1024


def facts() -> dict[str, object]:
    """What numbers depend on: machine, versions, threads, load."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peers": peers(),
        "smoke": smoke(),
    }


def peers() -> dict[str, str]:
    """Versions of the peers that are installed."""
    found = {}
    for name in PEERS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor()


def rounded(timing: Timing) -> dict[str, float]:
    """``{"wall": seconds, "cpu": seconds}`` to four digits, for the file."""
    return {name: round(value, 4) for name, value in asdict(timing).items()}


def write(name: str, results: Mapping[str, object]) -> Path:
    """Save ``results`` and `facts` as ``<name>.json`` under ``$COUNTERPOINT_RESULTS`` (default docs/results/bench)."""
    home = Path(os.environ.get("COUNTERPOINT_RESULTS") or ROOT / "docs" / "results" / "bench")
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{name}.json"
    path.write_text(json.dumps({"facts": facts(), **results}, indent=2) + "\n")
    return path
