"""What the plugin adds to a run's report: the long tail, uniformity beside recall, and what some users are shown.

Lists are made for val alone; numbers of test come from ``counterpoint evaluate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from counterpoint.evaluation.popularity import GROUPS, exposure, lorenz
from counterpoint.evaluation.ranking import Ranked, Scores, dot_scores, top_blocks
from counterpoint.report import (
    Context,
    Entry,
    Grid,
    Line,
    LineChart,
    Lists,
    Missing,
    Section,
    StackedBars,
    level,
)
from counterpoint.report.section import number_whole
from counterpoint_graphrec.data.interactions import Interactions
from counterpoint_graphrec.protocol import Case, K, vectors

USERS, HAD, SHOWN = 4, 10, 10
"""Examples: users, and lines of their two lists at most."""
Example = tuple[str, Sequence[Entry], Sequence[Entry]]
_TAIL = f"recall@{K},unpopular"


def popularity(context: Context) -> Section:
    """Whose items make the recall, and how evenly the catalogue is shown.

    Raises:
        Missing: neither evaluated nor finished.
    """
    parts: list[StackedBars | LineChart] = []
    bars = _bars(context)
    if bars is not None:
        parts.append(bars)
    _, case, scores = _learnt(context)
    parts.append(_tail(case, case.rank(scores)))
    lead = (
        "A recommender that only repeats what is popular anyway scores well and helps nobody to find anything. "
        "Unpopular are the 80% of the items with the fewest interactions in training, popular the top 5%."
    )
    if bars is None:
        lead += f" For recall by popularity, beside what needs no encoder, run: {context.command('evaluate')}"
    return Section("The long tail", lead, parts)


def _bars(context: Context) -> StackedBars | None:
    """Recall of each row of the evaluation by popularity; None where there was none."""
    measured = context.measured
    names = [f"recall@{K},{group}" for group in GROUPS]
    rows = {
        row: [float(found[name]) for name in names]
        for row, found in measured.get("metrics", {}).items()
        if all(np.isfinite(found.get(name, np.nan)) for name in names)
    }
    if not rows:
        return None
    split = {"val": "validation"}.get(measured["split"], measured["split"])
    note = f"{split} split; the parts of a bar add up to Recall@{K}"
    titles = [f"{group} items" for group in GROUPS]
    return StackedBars(f"Recall@{K}, by the popularity of what is found", titles, rows, note, "learnt")


def _learnt(context: Context) -> tuple[Interactions, Case, Scores]:
    """The run's data, its case of val, and the encoder's scores.

    Raises:
        Missing: the run is not finished, or its data is gone or no interactions.
    """
    dataset = context.dataset
    if not isinstance(dataset, Interactions):
        raise Missing("This needs interactions of users and items.")
    case = Case.of(dataset, "val")
    with torch.no_grad():
        return dataset, case, dot_scores(*vectors(context.run.encoder, context.run.views, case.train.shape))


def _tail(case: Case, ranked: Ranked) -> LineChart:
    """Share of the places that go to the most shown items, beside that of the interactions with the most touched."""
    shown, touched = _concentration(exposure(ranked, K)), _concentration(case.counts)
    note = (
        f"lists of {K} for {len(ranked.users)} validation users: the most shown 10% of the items have "
        f"{shown[10][1]:.0%} of all places, and the most touched 10% have {touched[10][1]:.0%} of all interactions"
    )
    lines = [Line("shown", shown), Line("touched", touched, 2), Line("evenly", [(0, 0), (100, 1)], 0, "dash")]
    return LineChart(
        "How evenly the catalogue is shown", lines, note, share=True, x="share of the items", unit="% of the items"
    )


def _concentration(amounts: ArrayLike) -> list[tuple[float, float]]:
    """Share of the total that the largest x % of the items have, for x = 0 to 100."""
    x, y = lorenz(amounts)
    grid = np.linspace(0, 1, 101)
    return [(100 * float(at), 1 - float(least)) for at, least in zip(grid, np.interp(1 - grid, x, y))]


def uniformity(context: Context) -> Section:
    """Uniformity beside recall over the updates.

    Raises:
        Missing: no look at val was logged yet.
    """
    shown = [
        _over_time(context, "Uniformity", "uniformity", "lower is more even; 0 is collapse"),
        _over_time(context, f"Recall@{K}", f"recall@{K}", "held-out items found; not used in training", share=True),
        _over_time(context, "Recall from the long tail", _TAIL, f"part of Recall@{K} from unpopular items", share=True),
        _over_time(context, "Catalogue", f"coverage@{K}", f"items that anybody is shown in a list of {K}", share=True),
    ]
    charts = [chart for chart in shown if chart is not None]
    if not charts:
        raise Missing("No look at the validation split was logged yet: the first epoch has not ended.")
    lead = (
        "Contrast spreads users and items evenly over the sphere. Spread too little, all users get what is popular; "
        "spread too much, and what belongs together is torn apart."
    )
    selected = context.facts.get("selected")
    if selected:
        lead += f" Kept is the encoder after epoch {int(selected['epoch']) + 1}, which was best on validation."
    return Section("Uniformity and recall", lead, [Grid(charts)])


def _over_time(context: Context, title: str, metric: str, note: str, share: bool = False) -> LineChart | None:
    points, start = context.metrics.get(f"val/{metric}"), context.metrics.get(f"untrained/{metric}", [])
    if not points:
        return None
    lines = [Line("learnt", [*start, *points])]
    if start:
        lines.append(level("untrained", start[-1][1], lines, "dot"))
    return LineChart(title, lines, note, share=share)


def examples(context: Context) -> Section:
    """What some validation users had, and what they are shown.

    Raises:
        Missing: the run is not finished, or its data is gone.
    """
    dataset, case, scores = _learnt(context)
    active = np.flatnonzero(np.diff(case.held_out.indptr))
    users = np.sort(np.random.default_rng(int(context.config["seed"])).permutation(active)[:USERS])
    shown = [items for _, block, _ in top_blocks(scores, case.seen, users, SHOWN) for items in block.numpy()]
    timed = dataset.timestamps is not None
    # Reports are passed on, and ids of users are personal data: they are letters here.
    cases = [
        (f"user {letter}", *_example(context, dataset, case, int(user), items))
        for letter, user, items in zip(ascii_uppercase, users, shown)
    ]
    lead = (
        f"{len(cases)} validation users, drawn at random. A tick is an item that was held out for validation: the user "
        "did touch it, and neither training nor the list knew. An item without one may be right all the same."
    )
    given = "had, the latest first" if timed else "had, what most others had first"
    return Section("What some users are shown", lead, [Lists(given, "is shown", cases, "Users and their lists")])


def _example(context: Context, dataset: Interactions, case: Case, user: int, shown: NDArray[np.int64]) -> Example:
    truth = set(_row(case.held_out, user).tolist())
    had, counts, name = _row(case.train, user), case.counts, context.entities.name
    order = np.argsort(-_importance(dataset, case, user, had), kind="stable")
    left = [Entry(name(int(item))) for item in had[order][:HAD]]
    right = [Entry(name(int(i)), f"had by {number_whole(counts[i])}", int(i) in truth) for i in shown if i >= 0]
    found = sum(entry.right for entry in right)
    more = f"{len(had)} in training" if len(had) > HAD else "all of training"
    note = f"{more}; {found} of {len(truth)} held-out items among the first {len(right)}"
    return note, left, right


def _row(matrix: csr_array, user: int) -> NDArray[np.int64]:
    """The items of a user."""
    items: NDArray[np.int64] = matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]].astype(np.int64)
    return items


def _importance(dataset: Interactions, case: Case, user: int, had: NDArray[np.int64]) -> NDArray[np.float64]:
    """What decides which of a user's items are named: their times, or how many had them."""
    if dataset.timestamps is None:
        return case.counts[had].astype(np.float64)
    first, last = np.searchsorted(dataset.pairs[:, 0], [user, user + 1])
    times = dict(zip(dataset.pairs[first:last, 1].tolist(), dataset.timestamps[first:last].tolist()))
    return np.array([times[item] for item in had.tolist()])
