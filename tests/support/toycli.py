"""The command line with the toy plugin, and strikes at exact places, so that "kill -9 in mid-epoch" is no race.

``TOY_STRIKE`` is a comma-separated list of ``place:number:signal``; the process sends itself the signal when it comes
to the place for the ``number``-th time. Places: ``views`` (in a step, before its loss), ``saving`` (a checkpoint is
written half), ``saved`` (it is in place), ``export`` (training is over). With ``TOY_STRIKE_FIRST`` only the first
process of several is struck.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter

import toy
from counterpoint import cli
from counterpoint import plugin as plugins
from counterpoint.plugin import Found


def install() -> None:
    """Make the toy plugin the only one, and arm the strikes."""
    found = (Found("toy", "counterpoint-toy", "0", plugin=toy.TOY),)
    plugins.discover = lambda: found
    strikes = [word.split(":") for word in os.environ.get("TOY_STRIKE", "").split(",") if word]
    spared = "TOY_STRIKE_FIRST" in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"
    if strikes and not spared:
        _arm({(place, int(number)): signal.Signals[name] for place, number, name in strikes})


def _arm(strikes: dict[tuple[str, int], signal.Signals]) -> None:
    from counterpoint.training import checkpoints, pretrain, sizes

    reached: Counter[str] = Counter()

    def reach(place: str) -> bool:
        reached[place] += 1
        number = strikes.get((place, reached[place]))
        if number is not None:
            os.kill(os.getpid(), number)
        return number is not None

    save, export = checkpoints.SaveLast.save, pretrain.export

    def striking(views):
        def struck_views(self, batch, generator):
            if len(batch) > sizes.PROBE:  # not the probe that measures sizes
                reach("views")
            return views(self, batch, generator)

        return struck_views

    def struck_save(self, trainer):
        if ("saving", reached["saving"] + 1) in strikes:
            self.path.parent.mkdir(exist_ok=True)
            self.path.with_name(f".{self.path.name}.part").write_bytes(b"half a checkpoint")
        reach("saving")
        save(self, trainer)
        reach("saved")

    def struck_export(*args, **kwargs):
        reach("export")
        export(*args, **kwargs)

    for cls in (toy.NoisyShifts, toy.Mirrored):
        cls.__call__ = striking(cls.__call__)
    checkpoints.SaveLast.save = struck_save
    pretrain.export = struck_export


if __name__ == "__main__":
    install()
    sys.exit(cli.main())
