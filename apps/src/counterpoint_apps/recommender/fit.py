"""``fit``: one table in; a trained, measured recommender out, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from counterpoint.training import config as configs
from counterpoint.training.evaluate import show
from counterpoint.workflow import evaluate, start_run
from counterpoint_apps.recommender.trials import best_of
from counterpoint_graphrec.tasks import Recommender

AUTO = "auto"


def fit(
    table: str, out: Path, method: str, options: Mapping[str, object], rest: Sequence[str], *, overwrite: bool
) -> Recommender:
    """Train on a table, measure on its test part, and print what to do next.

    Args:
        table: file or name of a data set.
        out: run directory.
        method: of the graphrec plugin, or "auto": a few settings are tried, and the best on val is kept.
        options: of the data set.
        rest: words for `counterpoint pretrain`.
        overwrite: start again where a run is.

    Raises:
        ConfigError: a setting that is not right.
        DataError: a table that cannot be used.
        Interrupted: Ctrl-C; the state is saved and the message says how to go on.
    """
    columns = [f"--dataset.{name}={value}" for name, value in options.items()]
    if method == AUTO:
        run = best_of(table, out, [*columns, *rest], overwrite=overwrite)
    else:
        words = [f"graphrec/{method}", f"--data={table}", f"--out={out}", *columns, *rest]
        run = start_run(configs.parse(words), overwrite=overwrite)
    show(evaluate(run))
    recommender = Recommender.of_run(run)  # which keeps ids and titles in the run
    print("\n".join(following(recommender, out)))
    return recommender


def following(recommender: Recommender, out: Path) -> list[str]:
    """What to do next: commands with a user and two items that there are."""
    names, nodes = recommender.names, recommender.nodes
    user = names.users[int(np.argmax(np.diff(nodes.history.indptr)))]
    order: list[int] = np.argsort(-nodes.popularity, kind="stable").tolist()
    first, second = order[0], order[min(1, len(order) - 1)]
    run = f"--run {shlex.quote(str(out))}"
    command = "  counterpoint app recommender"
    return [
        "What now:",
        f"{command} recommend {shlex.quote(user)} {run}",
        f"{command} recommend-for {shlex.quote(names.items[first])} {shlex.quote(names.items[second])} {run}"
        f"   # {names.titles[first]}, {names.titles[second]}",
        f"{command} batch --out recommendations.parquet {run}",
        f"{command} serve {run}",
    ]
