"""Two real processes at B/2 against one at B: value and gradients of every contrastive objective.

Run as a script, ``python test_two_processes_contrast.py FOLDER``, this file is the two processes: it imports torch once
and forks while it has one thread. The mean over processes of the parameters' gradients is what DDP forms.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from counterpoint.errors import ShapeError
from counterpoint.objectives import (
    CACR,
    DCL,
    FeatureTransform,
    Hydra,
    InfoNCE,
    MoCHi,
    NTXent,
    Objective,
    Result,
    Sigmoid,
    SupCon,
)
from counterpoint.objectives.core_tuning import CoreTuning, MixDraws, core_tuning_loss
from counterpoint.objectives.supremix import SupReMix, sup_re_mix_loss

pytestmark = pytest.mark.unit

VIEWS, BATCH, WIDTH = 3, 8, 5
IDS = torch.tensor([4, 7, 4, 1, 9, 7, 2, 4])  # duplicates within and across the halves
LABELS = torch.tensor([0, -1, 1, 1, -1, -1, 1, 0])
BOTH = {"symmetric": True, "in_batch": True}
Call = Callable[[Any, list[Tensor], slice], Result]


def queue() -> Tensor:
    return torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def plain(objective: Objective, views: list[Tensor], share: slice) -> Result:
    return objective(views)


def two(objective: Objective, views: list[Tensor], share: slice) -> Result:
    return objective(views[:2])


def duplicates(objective: Objective, views: list[Tensor], share: slice) -> Result:
    return objective(views, IDS[share])


def queued(objective: Objective, views: list[Tensor], share: slice) -> Result:
    return objective(views[:2], negatives=queue())


def queued_ids(objective: Objective, views: list[Tensor], share: slice) -> Result:
    return objective(views, IDS[share], negatives=queue(), negative_ids=torch.tensor([1, 2, 3, 4, 5, 9]))


def momentum(objective: Objective, views: list[Tensor], share: slice) -> Result:
    return objective([views[0], views[1].detach()])


def labelled(objective: SupCon, views: list[Tensor], share: slice) -> Result:
    return objective(views, labels=LABELS[share])


def labelled_duplicates(objective: SupCon, views: list[Tensor], share: slice) -> Result:
    return objective(views, IDS[share], queue(), labels=LABELS[share])


def targeted(objective: SupReMix, views: list[Tensor], share: slice) -> Result:
    """The anchors of a share with their own part of the drawn shares; alone, among themselves."""
    drawn = torch.rand(VIEWS * BATCH, VIEWS * BATCH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mine = torch.arange(VIEWS * BATCH).view(VIEWS, BATCH)[:, share].flatten()
    drawn = drawn[mine] if dist.is_initialized() else drawn[mine][:, mine]
    targets = torch.tensor([3.0, 1.0, torch.nan, 2.0, 2.0, 5.0, 4.0, 3.0])[share]
    temperature = objective.temperature()
    return sup_re_mix_loss(views, IDS[share], targets=targets, temperature=temperature, max_triples=0, shares=drawn)


def classified(objective: CoreTuning, views: list[Tensor], share: slice) -> Result:
    """Partners from all ranks; alone, from the share."""
    partner, shares = torch.tensor([5, 3, 6, 0, 2, 7, 1, 4]), torch.linspace(0.1, 0.9, BATCH, dtype=torch.float64)
    if not dist.is_initialized():
        partner = partner % (share.stop - share.start)
    draws = MixDraws(partner[share], 0.9 + shares[share] / 10, shares[share])
    classify = torch.eye(WIDTH, 3, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 2, 0])[share]
    call = partial(core_tuning_loss, views[0], labels, lambda rows: rows @ classify)
    return call(pairing=objective.pairing, weight=objective.weight, temperature=0.3, draws=draws)


# Each process draws mixtures of its own; of the hardest negative with itself, and with next to nothing of the anchor,
# there is only one.
ONE_MIXTURE = {"hardest": 1, "mixed": 3, "query_mixed": 2, "query_share": 1e-12}


def paired(objective: Hydra, views: list[Tensor], share: slice) -> Result:
    return objective(views, IDS[share], labels=LABELS[share])


CASES: dict[str, tuple[Callable[[], Objective], Call]] = {
    "NTXent": (lambda: NTXent(0.3), two),
    "NTXent, three views": (lambda: NTXent(0.3, learnable_temperature=True), plain),
    "NTXent, one side": (lambda: NTXent(0.3, symmetric=False), plain),
    "NTXent, duplicates, queue": (lambda: NTXent(0.3, **BOTH), queued_ids),
    "InfoNCE": (lambda: InfoNCE(0.3, learnable_temperature=True), two),
    "InfoNCE, three views, duplicates": (lambda: InfoNCE(0.3), duplicates),
    "InfoNCE, cold": (lambda: InfoNCE(0.01), two),
    "InfoNCE, smoothed": (lambda: InfoNCE(0.3, learnable_temperature=True, label_smoothing=0.1), two),
    "InfoNCE, smoothed, duplicates, queue": (lambda: InfoNCE(0.3, **BOTH, label_smoothing=0.1), queued_ids),
    "MoCo v2, smoothed": (lambda: InfoNCE(0.3, symmetric=False, in_batch=False, label_smoothing=0.1), queued),
    "MoCo v2": (lambda: InfoNCE(0.3, symmetric=False, in_batch=False), queued),
    "MoCo v3": (lambda: InfoNCE(0.3, symmetric=False), momentum),
    "DCL": (lambda: DCL(0.3), two),
    "DCL, duplicates": (lambda: DCL(0.3, learnable_temperature=True), duplicates),
    "DCLW": (lambda: DCL(0.3, pos_weight="neg_vmf"), two),
    "DCLW, three views, gradient of the weight": (lambda: DCL(0.3, "neg_vmf", weight_gradient=True), plain),
    "DCL, queue only": (lambda: DCL(0.3, in_batch=False), queued),
    "MoCHi": (lambda: MoCHi(0.3, **ONE_MIXTURE, learnable_temperature=True), two),
    "MoCHi, three views, duplicates": (lambda: MoCHi(0.3, **ONE_MIXTURE), duplicates),
    "MoCHi, duplicates, queue": (lambda: MoCHi(0.3, **ONE_MIXTURE, in_batch=True), queued_ids),
    "MoCHi, queue only": (lambda: MoCHi(0.3, **ONE_MIXTURE), queued),
    "feature transformation": (lambda: FeatureTransform(0.3, learnable_temperature=True), two),
    "feature transformation, three views, duplicates": (lambda: FeatureTransform(0.3), duplicates),
    "feature transformation, duplicates, queue": (lambda: FeatureTransform(0.3, in_batch=True), queued_ids),
    "feature transformation, queue only": (lambda: FeatureTransform(0.3), queued),
    "SupCon, no labels": (lambda: SupCon(0.3), plain),
    "SupCon": (lambda: SupCon(0.3, learnable_temperature=True), labelled),
    "SupCon, duplicates, queue": (lambda: SupCon(0.3), labelled_duplicates),
    "SupReMix, duplicates": (lambda: SupReMix(0.3, learnable_temperature=True), targeted),
    "Core-tuning": (lambda: CoreTuning(weight=2.0), classified),
    "Core-tuning, released": (lambda: CoreTuning(weight=2.0, pairing="released"), classified),
    "Sigmoid": (lambda: Sigmoid(0.3, bias=-2.0), two),
    "Sigmoid, three views, duplicates, queue": (lambda: Sigmoid(0.3, bias=-2.0), queued_ids),
    "CACR, three views": (lambda: CACR(), plain),
    "CACR, three views, duplicates, queue": (lambda: CACR(detach_weights=False, **BOTH), queued_ids),
    "CACR, debiased": (lambda: CACR(debias=0.1, symmetric=False), duplicates),
    "CACR, Gaussian": (lambda: CACR(cost="rbf", detach_weights=False), duplicates),
    "CACR, Gaussian, plan": (lambda: CACR(cost="rbf", **BOTH), queued_ids),
    "CACR, cross-entropy": (lambda: CACR(5.0, 2.5, cost="info_nce"), plain),
    "Hydra": (lambda: Hydra(2, WIDTH, "identical", norm=False), paired),
    "Hydra, gates of each class": (
        lambda: Hydra(2, WIDTH, "identical", "before", "product", norm=False, ungated=0.5, instance=0.5),
        paired,
    ),
}
COUPLED = [name for name in CASES if name not in ("MoCo v2", "MoCo v2, smoothed") and "queue only" not in name]


def inputs(batch: int = BATCH) -> Tensor:
    """``(V, B, F)``: a common part of each sample, so that positives are alike, and a part of each view."""
    draw = torch.randn(VIEWS, batch, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return draw + draw[0]


def run(name: str, share: slice) -> dict[str, Tensor]:
    """Loss and gradients of one step on a share of the batch."""
    torch.manual_seed(11)
    model = nn.Linear(6, WIDTH).double()
    make, call = CASES[name]
    objective = make().double()
    result = call(objective, list(model(inputs()[:, share])), share)
    result.loss.backward()
    learnt = {f"model.{n}": p.grad for n, p in model.named_parameters()}
    learnt |= {n: p.grad for n, p in objective.named_parameters()}
    assert all(gradient is not None for gradient in learnt.values())
    return {"loss": result.loss.detach(), **learnt}


def refusal(action: Callable[[], object]) -> str:
    try:
        action()
    except ShapeError as error:
        return str(error)
    return "nothing was refused"


def one_sample_each(views: Tensor) -> dict[str, Tensor]:
    return {type(o).__name__: o(list(views)).loss.detach() for o in (NTXent(), InfoNCE(), DCL())}


def half(rank: int, batch: int = BATCH) -> slice:
    return slice(rank * batch // 2, (rank + 1) * batch // 2)


def process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = (folder / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    answers: dict[str, Any] = {name: run(name, half(rank)) for name in CASES}
    answers["one sample each"] = one_sample_each(inputs(2)[:, half(rank, 2)])
    broken = inputs()[:, half(rank)].clone()
    if rank == 1:
        broken[1, 2] = torch.nan
    objectives = (NTXent(), InfoNCE(), DCL(), SupCon(), Sigmoid())
    answers["broken"] = [refusal(lambda o=o: o(list(broken))) for o in objectives]
    answers["uneven"] = refusal(lambda: NTXent()(list(inputs()[:, : 3 + rank])))
    torch.save(answers, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two-processes")
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one_batch(ranks: list[dict[str, Any]], name: str) -> None:
    whole = run(name, slice(0, BATCH))
    first, second = ranks[0][name], ranks[1][name]
    assert set(first) == set(second) == set(whole) >= {"loss", "model.weight", "model.bias"}
    for key, expected in whole.items():
        torch.testing.assert_close((first[key] + second[key]) / 2, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["NTXent, three views", "InfoNCE", "InfoNCE, smoothed", "DCL, duplicates", "SupCon", "Sigmoid"]
)
def test_the_temperature_is_among_what_was_compared(ranks: list[dict[str, Any]], name: str) -> None:
    assert ranks[0][name]["temperature.log_scale"].abs() > 0
    assert name != "Sigmoid" or ranks[0][name]["bias"].abs() > 0


@pytest.mark.parametrize("name", COUPLED)
def test_halves_that_know_nothing_of_each_other_would_differ(name: str) -> None:
    whole = run(name, slice(0, BATCH))
    alone = [run(name, half(rank)) for rank in range(2)]
    for key in ("loss", "model.weight"):
        assert ((alone[0][key] + alone[1][key]) / 2 - whole[key]).abs().max() > 1e-3 * whole[key].abs().max()


def test_one_sample_per_process_finds_its_negatives_elsewhere(ranks: list[dict[str, Any]]) -> None:
    for name, expected in one_sample_each(inputs(2)).items():
        mean = sum(answers["one sample each"][name] for answers in ranks) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-12)


def test_a_broken_row_stops_both_processes_and_is_named_where_it_is(ranks: list[dict[str, Any]]) -> None:
    here = (
        "embeddings[1]: found NaN or infinity in 1 row(s): 2; allowed: finite values. "
        "Look at these samples, or lower the learning rate."
    )
    assert ranks[1]["broken"] == [here] * 5
    elsewhere = "embeddings: found NaN or infinity on another rank; allowed: finite values. See its message."
    assert ranks[0]["broken"] == [elsewhere] * 5


def test_unequal_batches_are_refused_on_every_process(ranks: list[dict[str, Any]]) -> None:
    text = "batch size per rank: found between 3 and 4; allowed: equal on all ranks. Drop the uneven last batch."
    assert [answers["uneven"] for answers in ranks] == [text, text]


def both_processes(folder: Path) -> int:
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=process, args=(rank, folder)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return max(abs(child.exitcode or 0) for child in children)


if __name__ == "__main__":
    sys.exit(both_processes(Path(sys.argv[1])))
