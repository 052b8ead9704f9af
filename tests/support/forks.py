"""Run many command lines in processes of their own, with one import of torch: a small server that forks for each.

The server never computes anything itself, so every fork starts from the state right after the imports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Done:
    """How a command ended: exit code (-9: killed by signal 9), and what it wrote."""

    code: int
    out: str
    err: str


class Forks:
    """Client of the server; ``run`` is ``subprocess.run`` without the seconds of imports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
        )

    def run(self, words: Sequence[object], strike: str = "") -> Done:
        """``counterpoint`` with ``words`` and the toy plugin, struck as `toycli` says."""
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        order = {"words": [str(word) for word in words], "strike": strike, "out": str(out), "err": str(err)}
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        answer = self.server.stdout.readline()
        assert answer, "the server ended"
        return Done(int(answer), out.read_text(), err.read_text())

    def close(self) -> None:
        """End the server."""
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(10)


def serve() -> None:
    """Read orders, fork for each, answer with its exit code."""
    import counterpoint.training.evaluate
    import counterpoint.training.pretrain
    import counterpoint.training.tables  # noqa: F401
    import toycli

    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _obey(order, toycli)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _obey(order: dict, toycli) -> None:
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ["TOY_STRIKE"] = order["strike"]
    code = 1
    try:
        toycli.install()
        code = toycli.cli.main(order["words"])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
