"""What a linear probe takes for what."""

from __future__ import annotations

import numpy as np
import torch

from counterpoint.evaluation.linear import linear_probe
from counterpoint.report.context import Context, Missing
from counterpoint.report.maps import LARGEST_MATRIX, Confusion
from counterpoint.report.section import Section, number_whole, percent
from counterpoint.training.evaluate import confusion_counts

TITLE = "What is taken for what"


def confusion(context: Context) -> Section:
    """Confusion matrix of a linear probe: of ``counterpoint evaluate`` on test where it ran, else a quick one on val.

    Raises:
        Missing: no labels, or the data is gone.
    """
    stored = context.evaluation("test").get("confusion")
    if stored:
        counts, classes = np.array(stored["counts"]), [str(name) for name in stored["classes"]]
        who = "The fine-tuned run" if context.task else "The linear probe of counterpoint evaluate"
        told = f"{who}, measured once on the test split."
    else:
        counts, classes = _on_val(context)
        told = (
            f"A linear probe fitted on {number_whole(len(context.bank.index))} samples of the train split and measured "
            f"on {number_whole(int(counts.sum()))} validation samples (never on training samples)."
        )
    kept = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    counts, classes = counts[np.ix_(kept, kept)], [classes[i] for i in kept]
    right = percent(float(np.trace(counts) / max(1, counts.sum())))
    told += f" {right} are right; a row is a true class, and deeper colour a larger share of it."
    if len(classes) > LARGEST_MATRIX:
        told += f" Of {len(classes)} classes the largest confusions are listed."
    return Section(TITLE, told, [Confusion(counts, classes)])


def _on_val(context: Context) -> tuple[np.ndarray, list[str]]:
    bank, asked = context.bank, context.held_out
    if bank.labels is None or asked.labels is None:
        raise Missing(
            "This needs labels, and the data has none."
            + (" Training needs none either." if context.supervision == () else "")
        )
    known, taught = asked.labels >= 0, bank.labels >= 0
    if not bool(known.any()) or len(torch.unique(bank.labels[taught])) < 2:
        raise Missing("This needs known labels of two classes or more.")
    probe = linear_probe(bank.features, bank.labels, asked.features[known], grid=(1.0,))
    classes = max(int(bank.labels.max()), int(asked.labels.max())) + 1
    names = [context.class_name(number) for number in range(classes)]
    return confusion_counts(asked.labels[known], probe.predictions, classes), names
