"""The k best items for a user, for a newcomer, or beside an item; each with reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from counterpoint.errors import ConfigError, DataError, ShapeError, message
from counterpoint.evaluation._topk import topk
from counterpoint.parts import Task
from counterpoint.run import Run
from counterpoint_graphrec.encoders import LightGCN
from counterpoint_graphrec.tasks.answers import Answer, Best, Hit, Reason, Rule
from counterpoint_graphrec.tasks.batch import Written, write
from counterpoint_graphrec.tasks.filters import Filters
from counterpoint_graphrec.tasks.kept import opened
from counterpoint_graphrec.tasks.names import Names
from counterpoint_graphrec.tasks.nodes import Nodes
from counterpoint_graphrec.tasks.reasons import Parts, explain

EVERYTHING = Filters()
UNPROPAGATED = "This encoder does not propagate (layers=0)"
UNKNOWN = "Of user {!r} no training interaction is known: these are simply the most popular items."
NOTHING = np.empty(0, dtype=np.int64)
_NONE = torch.empty(1, 0), torch.empty(1, 0, dtype=torch.int64)


@dataclass(frozen=True)
class Question:
    """What is ranked.

    Attributes:
        asked: who or what asks.
        rule: what the scores are.
        scores: ``(M,)``.
        hidden: items that are not shown.
        own: the asker's items, which explain the scores; None: nothing does.
        notes: what to tell.
    """

    asked: str
    rule: Rule
    scores: Tensor
    hidden: np.ndarray
    own: np.ndarray | None
    notes: tuple[str, ...] = ()


class Recommender(Task):
    """The best items for users and newcomers by inner product, full ranking; equal scores by the items' order.

    ::

        recommender = Recommender.of_run("runs/shop")
        recommender.recommend("user 7", k=5)
        recommender.recommend_for(["Alien (1979)", "Blade Runner (1982)"], filters=Filters(groups=["Drama"]))

    Args:
        k: items of an answer, where the question does not say.
        reasons: at most this many of the asker's items are named as a recommendation's reasons.

    Raises:
        ConfigError: ``k`` below 1, or ``reasons`` below 0.
    """

    def __init__(self, k: int = 10, reasons: int = 3) -> None:
        if reasons < 0:
            raise ConfigError(message("reasons", reasons, "a whole number from 0"))
        self.k, self.reasons = _at_least_one(k), reasons
        self._nodes: Nodes | None = None
        self._names: Names | None = None
        self._labels: Tensor | None = None

    @classmethod
    def of_run(cls, run: str | Path | Run, data: str | None = None, k: int = 10, reasons: int = 3) -> Recommender:
        """The recommender that a run has trained.

        Ids and titles come from the run's ``recommender/`` folder; the first use writes them there, so that later ones
        need no data.

        Args:
            run: finished run of the graphrec plugin, or its directory.
            data: where the run's table lies now, if it was moved before the first use.
            k: items of an answer.
            reasons: at most this many for a recommendation.

        Raises:
            RunError: no run, or an unfinished one.
            ConfigError: a run of another plugin.
            DataError: the data is gone or another, and names were never kept.
        """
        encoder, names, known = opened(run if isinstance(run, Run) else Run(run), data)
        users, items = encoder.nodes()
        # Only linear propagation has parts: neither matrix factorisation nor networks with weights in their layers do.
        folds = encoder.fold_in() if isinstance(encoder, LightGCN) and encoder.layers else None
        return cls(k, reasons).fit(
            items.cpu(),
            users=users.cpu(),
            folds=None if folds is None else folds.cpu(),
            history=csr_array(encoder.matrix()),
            known=known,
            names=names,
        )

    def fit(
        self,
        features: Tensor,
        labels: Tensor | None = None,
        *,
        users: Tensor | None = None,
        folds: Tensor | None = None,
        history: csr_array | None = None,
        known: csr_array | None = None,
        names: Names | None = None,
    ) -> Recommender:
        """Take ``(M, D)`` item vectors, and where there are users what is known of them.

        Args:
            features: ``(M, D)`` items.
            labels: ``(M,)`` what kind each item is, -1 unknown; only `evaluate` needs them.
            users: ``(U, D)``; none: only `predict`, `evaluate`, `similar` and `recommend_for` can be asked.
            folds: ``(M, D)`` what an item sends to its users (see `Nodes`).
            history: ``(U, M)`` training interactions.
            known: ``(U, M)`` all known interactions; default: the training ones.
            names: of users and items; default: numbers.

        Raises:
            ShapeError: shapes that do not fit together.
        """
        if labels is not None and len(labels) != len(features):
            raise ShapeError(message("labels", len(labels), f"{len(features)}, one for each row of features"))
        users = features.new_zeros(0, features.shape[-1]) if users is None else users
        history = _ones(csr_array((len(users), len(features))) if history is None else history)
        known = history if known is None else _ones(known)
        self._nodes = Nodes(features, users, folds, history, known)
        self._names = Names.numbered(len(users), len(features)) if names is None else names
        self._labels = labels
        return self

    @property
    def nodes(self) -> Nodes:
        """What was learnt.

        Raises:
            ConfigError: nothing yet.
        """
        if self._nodes is None:
            raise ConfigError(message("Recommender", "no items yet", "fit before predict", "Call fit(features)."))
        return self._nodes

    @property
    def names(self) -> Names:
        """What users and items are called."""
        if self._names is None:
            raise ConfigError(message("Recommender", "no items yet", "fit before names", "Call fit(features)."))
        return self._names

    def predict(self, features: Tensor) -> Best:
        """The ``k`` best items for each of ``(B, D)`` vectors of users, by inner product."""
        items = self.nodes.items
        if features.dim() != 2 or features.shape[1] != items.shape[1]:
            found = f"shape {tuple(features.shape)}"
            raise ShapeError(message("features", found, f"(B, {items.shape[1]}), as wide as the items"))
        return Best(*topk(features.to(items.dtype) @ items.T, min(self.k, len(items))))

    def evaluate(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        """How often the best items are of the asker's kind. (A trained run is measured by ``counterpoint evaluate``.)

        Args:
            features: ``(B, D)`` vectors of users.
            labels: ``(B,)`` the kind that each user wants; rows with -1 do not count.

        Returns:
            ``label_precision@k``: share of the k best items of that kind; ``label_hit@k``: share of users with any.

        Raises:
            ConfigError: the items have no labels.
            ShapeError: no row counts.
        """
        best = self.predict(features)
        if self._labels is None:
            raise ConfigError(message("labels", "items without labels", "fit(features, labels)"))
        rows = labels >= 0
        if not rows.any():
            raise ShapeError(message("labels", "none that is known", "at least one label >= 0"))
        right = (self._labels[best.items] == labels[:, None])[rows].double()
        k = best.items.shape[1]
        return {
            f"label_precision@{k}": float(right.mean()),
            f"label_hit@{k}": float(right.amax(dim=1).mean()),
        }

    def recommend(self, user: str | int, k: int | None = None, filters: Filters = EVERYTHING) -> Answer:
        """The best items for a user who was there in training; the most popular ones for one without a training item.

        Args:
            user: id.
            k: how many; fewer come where the filters leave fewer.
            filters: which items may come.

        Raises:
            DataError: no such user, or filters that leave nothing.
        """
        nodes, number = self.nodes, self.names.user(user)
        own, hidden = nodes.had(number), NOTHING if filters.seen else nodes.has(number)
        if not len(own):
            return self._answer(self._popularity(str(user), hidden, UNKNOWN.format(user)), k, filters)
        notes = () if nodes.folds is not None else (f"{UNPROPAGATED}, so a score has no parts by item: no reasons.",)
        return self._answer(
            Question(str(user), "user", nodes.items @ nodes.users[number], hidden, own, notes), k, filters
        )

    def recommend_for(self, items: Iterable[str | int], k: int | None = None, filters: Filters = EVERYTHING) -> Answer:
        """The best items for a newcomer of whom nothing is known but some items, without any training.

        Args:
            items: ids, titles, or words that only one title has; the order does not matter.
            k: how many.
            filters: which items may come.

        Raises:
            DataError: no item, an unknown one, only such as nobody touched in training, or filters that leave nothing.
        """
        nodes, names = self.nodes, self.names
        numbers = [names.item(item) for item in items]
        if not numbers:
            raise DataError(message("items", "none", "at least one item", "Without any there are the most popular."))
        given = list(dict.fromkeys(numbers))
        notes = [] if len(given) == len(numbers) else ["An item that was given twice counts once."]
        own, dropped = self._learnt(np.array(given))
        asked, hidden = " + ".join(names.titles[number] for number in given), NOTHING if filters.seen else own
        vector = nodes.newcomer(own.tolist())
        if nodes.folds is None:
            notes.append(f"{UNPROPAGATED}, so a newcomer is the mean of its items: ranked by cosine.")
            question = Question(asked, "likeness", nodes.unit @ vector, hidden, own, (*notes, *dropped))
        else:
            question = Question(asked, "fold-in", nodes.items @ vector, hidden, own, (*notes, *dropped))
        return self._answer(question, k, filters)

    def similar(self, item: str | int, k: int | None = None, filters: Filters = EVERYTHING) -> Answer:
        """The most similar items, by cosine; never the item itself.

        Raises:
            DataError: no such item, one that nobody touched in training, or filters that leave nothing.
        """
        nodes, number = self.nodes, self.names.item(item)
        itself, _ = self._learnt(np.array([number]))
        question = Question(self.names.titles[number], "likeness", nodes.unit @ nodes.unit[number], itself, None)
        answer = self._answer(question, k, filters)
        shared = nodes.shared(number, [hit.number for hit in answer.hits])
        return replace(answer, hits=tuple(replace(hit, shared=n) for hit, n in zip(answer.hits, shared)))

    def popular(self, k: int | None = None, filters: Filters = EVERYTHING) -> Answer:
        """The items that most users touched in training."""
        return self._answer(self._popularity("everybody", NOTHING), k, filters)

    def batch(
        self,
        path: str | Path,
        k: int | None = None,
        filters: Filters = EVERYTHING,
        users: Sequence[str] | None = None,
        tick: Callable[[int], None] | None = None,
    ) -> Written:
        """The best items of many users as a Parquet table: all of it, or nothing.

        Args:
            path: Parquet file.
            k: how many a user.
            filters: which items may come.
            users: ids; None: everybody.
            tick: called with the number of users that were just done.

        Raises:
            DataError: an unknown user, or filters that leave nothing.
            TrainingError: the file cannot be written.
        """
        k = self.k if k is None else _at_least_one(k)
        return write(self, Path(path), k, filters, users, self.reasons, tick)

    def allowed(self, filters: Filters) -> tuple[np.ndarray, tuple[str, ...]]:
        """``(M,)`` bool: what ``filters`` let through, and what to tell of it.

        Raises:
            ConfigError: a category that there is not.
            DataError: no item is left.
        """
        nodes = self.nodes
        trained = nodes.popularity if len(nodes.users) else np.full(len(nodes.items), filters.least_users)
        return filters.allowed(self.names, trained)

    def _popularity(self, asked: str, hidden: np.ndarray, *notes: str) -> Question:
        return Question(asked, "popularity", torch.from_numpy(self.nodes.popularity).double(), hidden, None, notes)

    def _learnt(self, own: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Those of ``own`` that somebody touched in training, and what to say of the others."""
        if not len(self.nodes.users):
            return own, []
        touched = self.nodes.popularity[own] > 0
        others = ", ".join(self.names.called(number) for number in own[~touched].tolist())
        if not touched.any():
            found = f"{others}, which nobody touched in training"
            raise DataError(message("item", found, "an item of which something was learnt"))
        return own[touched], [f"Nobody touched {others} in training: left out."] if others else []

    def _answer(self, question: Question, k: int | None, filters: Filters) -> Answer:
        """Filter, rank, explain."""
        k = self.k if k is None else _at_least_one(k)
        allowed, told = self.allowed(filters)
        allowed[question.hidden] = False
        rows = torch.from_numpy(np.flatnonzero(allowed))
        scores, order = topk(question.scores[rows][None], min(k, len(rows))) if len(rows) else _NONE
        targets = rows[order[0]]
        reasons = explain(self.nodes, question.rule, question.own, targets, self.reasons)
        hits = tuple(
            self._hit(number, score, why) for number, score, why in zip(targets.tolist(), scores[0].tolist(), reasons)
        )
        few = () if len(hits) == k else (f"{len(hits):,} items are left to recommend; {k:,} were asked for.",)
        return Answer(question.asked, question.rule, hits, (*question.notes, *told, *few))

    def _hit(self, number: int, score: float, why: Parts | None) -> Hit:
        names = self.names
        facts = number, names.items[number], names.titles[number], names.groups[number], score
        if why is None:
            return Hit(*facts)
        rest = score - why.total
        whole = why.positive + max(rest, 0.0)
        reasons = tuple(Reason(names.items[i], names.titles[i], part, part / whole) for i, part in why.largest)
        return Hit(*facts, reasons, rest)


def _at_least_one(k: int) -> int:
    if k < 1:
        raise ConfigError(message("k", k, "a whole number from 1"))
    return k


def _ones(matrix: csr_array) -> csr_array:
    """The same places, each once and in order."""
    made = csr_array(matrix, copy=True)
    made.sum_duplicates()
    return made
