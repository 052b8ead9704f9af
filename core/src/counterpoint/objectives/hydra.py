"""Arbitrary positive pairs (Hydra, SimLAP): any two classes attract, in a subspace of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.objectives._contrast import Options, Temperature
from counterpoint.objectives._gated import Rule, Setting, total
from counterpoint.objectives._inputs import check_at_least, check_choice, full_precision, is_number, no_autocast
from counterpoint.objectives._rows import Rows, as_scale, check, check_ids, name_broken_rows, prepare
from counterpoint.objectives.base import Objective, Reduction, Result
from counterpoint.objectives.gates import GateKind, PairGate
from counterpoint.objectives.gather import gather, world_size
from counterpoint.objectives.info_nce import info_nce_loss

__all__ = ["Hydra", "hydra_loss", "sample_partners"]

Partners = Literal["arbitrary", "distinct", "identical"]
Normalize = Literal["after", "before"]


def hydra_loss(
    embeddings: Sequence[Tensor],
    labels: Tensor,
    partners: Tensor,
    gates: Tensor,
    ids: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.1,
    normalize: Normalize = "after",
    ungated: float | Tensor = 0.0,
    symmetric: bool = True,
) -> Result:
    """Attract the samples of a partner class, and repel those of third classes, in the dimensions that a gate opens.

    Sample ``i`` has the class ``y[i]``, the partner class ``p[i]`` and the gate ``g[i]``. With unit rows ``z[v, i]``,
    ``P(i) = {j: y[j] = p[i]}`` and ``N(i) = {j: y[j] is neither y[i] nor p[i]}``::

        l[i, j]    = cos(g[i] * z[a, i], g[i] * z[b, j]) / temperature                                       "after"
        l[i, j]    = (sum over d of (g[i, d]^2 - ungated) z[a, i, d] z[b, j, d]) / temperature               "before"
        L[a, b, i] = mean over j in P(i) of log(exp l[i, j] + sum over n in N(i) of exp l[i, n]) - l[i, j]
        L = mean over ordered pairs (a, b) of views, and over the samples i whose P(i) is not empty

    The other samples of the own class are neither. Each positive faces the negatives alone. A sample of unknown class
    (-1), or without a partner (-1), asks nothing, and a key of unknown class is left out.

    **Relations.** Open gates and ``p = y``: supervised contrast with the positives left out of each other's
    denominators. "after" does not depend on the gates' size, only on their proportions; "before" (the authors' later
    form) does: gates may shrink the logits. ``ungated`` penalises similarity in the whole space. Two classes that
    are each other's partners have no third: the loss is 0.

    **Several processes.** The rows of all ranks are keys, with gradients (reduction ``"gather"``); gates belong to
    queries.

    **Cost.** Two products of ``B x B x D`` for each ordered pair of views ("before": one), twice that backward; memory
    ``O(V B D)`` and one block of rows: the length of a gated key is a product of squares, so that nothing is
    ``B x B x D``.

    Args:
        embeddings: V views, two or more, each ``(B, D)``, any length: they are normalised here, in float32.
        labels: ``(B,)`` int64 classes, -1 for unknown.
        partners: ``(B,)`` int64 classes, -1 for none; `sample_partners` draws them.
        gates: ``(B, D)``, 0 or more, of the pairs ``(labels, partners)``.
        ids: ``(B,)`` int64 content ids; samples of equal id are never negatives of each other. None: all differ.
        temperature: above 0; a scalar tensor takes its gradient.
        normalize: whether rows have length 1 after or before they are gated.
        ungated: weight of the similarity in the whole space, which is taken off, 0 or more; "before" only.
        symmetric: every view asks in turn; else only the first.

    Returns:
        loss; parts ``positive`` (mean gated similarity of positives), ``p_positive`` (their mean probability),
        ``asked`` (share of the samples that have a positive), and ``chance`` (the loss where all logits are equal).

    Raises:
        ShapeError: inputs that do not fit, fewer than two samples, or a NaN row (named).
        ConfigError: an option out of its range.

    Source: "Rethinking Positive Pairs in Contrastive Learning" (arXiv 2410.18200) and its authors' released code.
    """
    scale = as_scale(temperature)
    check_choice("normalize", normalize, get_args(Normalize))
    if not isinstance(ungated, Tensor):
        check_at_least("ungated", ungated)
    if normalize == "after" and (isinstance(ungated, Tensor) or ungated):
        raise ConfigError(message("ungated", f"{float(ungated)} with normalize='after'", "0 there"))
    check(embeddings, ids, None, None)
    size, width = embeddings[0].shape
    check_ids("labels", labels, size)
    check_ids("partners", partners, size)
    if tuple(gates.shape) != (size, width):
        raise ShapeError(message("gates", tuple(gates.shape), f"({size}, {width}), as the embeddings"))
    rows = prepare(embeddings, ids, None, None, queued=False)
    with no_autocast(rows.joined):
        setting = Setting(scale, full_precision(gates), ungated, normalize == "before")
        named = {f"embeddings[{n}]": view for n, view in enumerate(embeddings)} | {"gates": gates}
        return _loss(rows, labels, partners, setting, Options(symmetric=symmetric).pairs(len(rows.views)), named)


def _loss(
    rows: Rows,
    labels: Tensor,
    partners: Tensor,
    setting: Setting,
    pairs: Sequence[tuple[int, int]],
    named: dict[str, Tensor],
) -> Result:
    known = labels if rows.alone else gather(labels)
    asks = (labels >= 0) & (partners >= 0) & torch.isin(partners, known)
    chosen = asks.nonzero().flatten()
    # A broken row that nothing asks of does not show in the loss, and yet breaks every gradient.
    broken = ~(torch.isfinite(rows.joined).all() & torch.isfinite(setting.gates).all())
    everyone = gather(torch.stack([asks.sum(), torch.full_like(asks.sum(), rows.size), broken.long()])[None]).sum(0)
    if everyone[2]:
        name_broken_rows(named)
    # What this process's sum is divided by, whatever its own number.
    share = everyone[0].clamp(min=1).to(rows.joined.dtype) / world_size()
    if not len(chosen):  # a loss that is 0 and yet takes part in the exchange of gradients
        nothing = (torch.stack(list(rows.everyone)).sum() + setting.gates.sum() + setting.scale + setting.ungated) * 0.0
        return Result(nothing, dict.fromkeys(("positive", "p_positive", "asked", "chance"), nothing.detach()))
    mine = setting._replace(gates=setting.gates[chosen])
    rule = Rule(labels[chosen], partners[chosen], known, None if rows.ids is None else rows.ids[chosen], rows.all_ids)
    sums = torch.stack([total(rows.views[a][chosen], rows.everyone[b], rule, mine) for a, b in pairs]).mean(0) / share
    told = sums.detach()
    parts = {"positive": told[1], "p_positive": told[2], "asked": everyone[0] / everyone[1], "chance": told[3]}
    return Result(sums[0], parts)


def sample_partners(labels: Tensor, mode: Partners = "arbitrary", present: Tensor | None = None) -> Tensor:
    """Draw a partner class for each sample, from torch's global generator.

    Args:
        labels: ``(B,)`` int64 classes, -1 for unknown.
        mode: ``"arbitrary"``: the classes of the batch in a random order, so that frequent ones are partners as often;
            ``"distinct"``: any other of the ``present`` classes; ``"identical"``: the own class.
        present: ``(M,)`` int64, classes that may be drawn by "distinct" (of all ranks, say), each once or more; None:
            those in ``labels``.

    Returns:
        ``(B,)`` int64; -1 where the class is unknown or there is no other.

    Raises:
        ConfigError: an unknown mode.
    """
    check_choice("partners", mode, get_args(Partners))
    if mode == "identical":
        return labels
    known = (labels >= 0).nonzero().flatten()
    partners = torch.full_like(labels, -1)
    if mode == "arbitrary":
        partners[known] = labels[known[torch.randperm(len(known), device=labels.device)]]
        return partners
    classes = torch.unique(labels if present is None else present)
    classes = classes[classes >= 0]
    if not len(classes):
        return partners
    own = torch.searchsorted(classes, labels[known])
    among = classes[own.clamp(max=len(classes) - 1)] == labels[known]  # the own class, which is stepped over
    others = len(classes) - among.long()
    drawn = (torch.rand(len(known), device=labels.device) * others).long().clamp(max=(others - 1).clamp(min=0))
    found = classes[(drawn + (among & (drawn >= own))).clamp(max=len(classes) - 1)]
    partners[known] = torch.where(others > 0, found, -1)
    return partners


class Hydra(Objective):
    """`hydra_loss` with the gates that it learns (`PairGate`) and a fresh draw of partners at each call.

    The heads' last layer should have no BatchNorm, which keeps gates from closing (the authors' remark); LayerNorm or
    nothing is well. With several processes partners are drawn on each; "distinct" draws among the classes of all.

    Args:
        classes: how many the labels have; 3 or more unless ``partners="identical"`` (else there is no negative).
        dim: width of the embeddings (the projector's output).
        partners: ``"arbitrary"``, ``"distinct"`` or ``"identical"``, see `sample_partners`.
        normalize: ``"after"`` or ``"before"`` gating, see `hydra_loss`.
        gate: kind of the gates, see `PairGate`; ``"open"`` is the control without any.
        temperature: above 0 (learnable: its start, 0.01 or more).
        learnable_temperature: learn the logarithm of 1 / temperature, held at 100 or below.
        embedding: width of the embeddings of classes (paper: 512).
        hidden: width of the gates' network (paper: 1024).
        norm: BatchNorm in the gates' network.
        same_class: weight of the same loss with the own class as partner, beside 1.
        instance: weight of InfoNCE on the samples themselves, beside 1.
        ungated: start of the learnt weight of the similarity in the whole space, which is taken off (released: 0.5);
            0: none. "before" only.
        warmup: share of the training (a release: 10 epochs) in which only gates, temperature and ``ungated`` learn from
            pairs of classes; then ``instance`` must be above 0, or the encoder would stand still.
        symmetric: every view asks in turn; else only the first (the newer release).

    Raises:
        ConfigError: a setting out of its range.
    """

    reduction: ClassVar[Reduction] = "gather"

    def __init__(
        self,
        classes: int,
        dim: int = 128,
        partners: Partners = "arbitrary",
        normalize: Normalize = "after",
        gate: GateKind = "sigmoid",
        temperature: float = 0.1,
        learnable_temperature: bool = True,
        embedding: int = 64,
        hidden: int = 128,
        norm: bool = True,
        same_class: float = 0.0,
        instance: float = 0.0,
        ungated: float = 0.0,
        warmup: float = 0.0,
        symmetric: bool = True,
    ) -> None:
        super().__init__()
        check_choice("partners", partners, get_args(Partners))
        check_choice("normalize", normalize, get_args(Normalize))
        if classes < 3 and partners != "identical":
            todo = "Two classes that are partners leave no negative."
            raise ConfigError(message("classes", classes, f"3 or more with partners={partners!r}", todo))
        for name, value in (("same_class", same_class), ("instance", instance), ("ungated", ungated)):
            check_at_least(name, value)
        if ungated and normalize == "after":
            raise ConfigError(message("ungated", f"{ungated} with normalize='after'", "0 there"))
        if not is_number(warmup) or not 0 <= warmup < 1 or (warmup and not instance):
            raise ConfigError(message("warmup", warmup, "a share in [0, 1), above 0 only where instance is"))
        self.gate = PairGate(classes, dim, embedding, hidden, gate, norm)
        self.temperature = Temperature(temperature, learnable_temperature)
        self.ungated = nn.Parameter(torch.tensor(float(ungated))) if ungated else None
        self.partners, self.normalize, self.symmetric = partners, normalize, symmetric
        self.same_class, self.instance, self.warmup = same_class, instance, warmup
        self._chance: Tensor | None = None

    def forward(
        self, embeddings: Sequence[Tensor], ids: Tensor | None = None, *, labels: Tensor | None = None
    ) -> Result:
        """Loss of V views ``(B, D)`` of samples of classes ``(B,)``; see `hydra_loss`.

        Raises:
            ConfigError: no labels.
            ShapeError: embeddings of another width than ``dim``, or a class out of range; and as `hydra_loss`.
        """
        if labels is None:
            todo = "Hydra pairs classes: take a dataset with labels, or an objective that needs none."
            raise ConfigError(message("labels", None, "int64 (B,)", todo))
        check(embeddings, ids, None, None)
        check_ids("labels", labels, len(embeddings[0]))
        if embeddings[0].shape[1] != self.gate.dim:
            todo = "Set the objective's dim to the projector's output width."
            raise ShapeError(message("width of the embeddings", embeddings[0].shape[1], self.gate.dim, todo))
        drawn = sample_partners(labels, self.partners, gather(labels) if self.partners == "distinct" else None)
        still = self.progress < self.warmup
        rows = [view.detach() for view in embeddings] if still else embeddings
        result, gates = self._paired(rows, ids, labels, drawn)
        terms, weights = [result], [1.0]
        if self.same_class:
            terms.append(self._paired(rows, ids, labels, labels)[0])
            weights.append(self.same_class)
        if self.instance:
            temperature = self.temperature()
            terms.append(info_nce_loss(embeddings, ids, temperature=temperature, symmetric=self.symmetric))
            terms[-1].parts["chance"] = gates.new_tensor(math.log(len(labels) * world_size()))
            weights.append(self.instance)
        shares = [weight / sum(weights) for weight in weights]
        loss = torch.stack([share * term.loss for share, term in zip(shares, terms)]).sum()
        self._chance = torch.stack([share * term.parts["chance"] for share, term in zip(shares, terms)]).sum()
        parts = {name: result.parts[name] for name in ("positive", "p_positive", "asked")}
        return Result(loss, {**parts, **self._told(gates)})

    def _paired(
        self, rows: Sequence[Tensor], ids: Tensor | None, labels: Tensor, partners: Tensor
    ) -> tuple[Result, Tensor]:
        """The loss for one draw of partners, and its gates."""
        asks = ((labels >= 0) & (partners >= 0)).nonzero().flatten()
        made = self._gates(labels[asks], partners[asks])
        gates = made.new_ones(len(labels), self.gate.dim).index_copy(0, asks, made)
        result = hydra_loss(
            rows,
            labels,
            partners,
            gates,
            ids,
            temperature=self.temperature(),
            normalize=self.normalize,
            ungated=0.0 if self.ungated is None else self.ungated,
            symmetric=self.symmetric,
        )
        return result, made.detach()

    def _gates(self, labels: Tensor, partners: Tensor) -> Tensor:
        """Gates of those that ask: no others enter the statistics of their BatchNorm."""
        if len(labels) > 1 or not self.training:
            made: Tensor = self.gate(labels, partners)
        elif len(labels):  # one row has no statistics; two alike have
            made = self.gate(labels.repeat(2), partners.repeat(2))[:1]
        else:
            self.gate.eval()
            made = self.gate(labels.new_zeros(1), labels.new_zeros(1))[:0]  # all parameters take part on every rank
            self.gate.train()
        return made

    def _told(self, gates: Tensor) -> dict[str, Tensor]:
        """What to watch in the gates: all open filter nothing, all closed leave nothing."""
        entropy = -(torch.xlogy(gates, gates) + torch.xlogy(1 - gates, 1 - gates)).sum() / max(1, gates.numel())
        told = {"gate_open": gates.sum() / max(1, gates.numel()), "gate_entropy": entropy}
        temperature = self.temperature()
        if isinstance(temperature, Tensor):
            told["temperature"] = temperature.detach()
        if self.ungated is not None:
            told["ungated"] = self.ungated.detach().clone()
        return told

    def chance(self, batch_size: int) -> float | None:
        """The loss of the last call where all logits are equal (its negatives depend on the labels); None before."""
        return None if self._chance is None else float(self._chance)
