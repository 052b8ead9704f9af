"""Two real processes at B/2 against one at B: values, gradients, codes and centres.

Run as a script, ``python test_two_processes_statistics.py FOLDER``, this file is the two processes: it imports torch
once and forks while it has one thread. The mean over processes of the parameters' gradients is what DDP forms.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from counterpoint.errors import ShapeError
from counterpoint.objectives import (
    BarlowTwins,
    NegativeCosine,
    Result,
    SelfDistillation,
    SepCLR,
    SwappedPrediction,
    VICReg,
    sinkhorn,
)
from counterpoint.objectives.density import joint_entropy, uniformity

pytestmark = pytest.mark.unit

VIEWS, BATCH, WIDTH, QUEUE = 3, 8, 5, 6
Case = Callable[[list[Tensor], list[Tensor], slice], tuple[Result, dict[str, Tensor]]]
"""Embeddings and teacher's embeddings of this process, and its share of the queue -> loss, and what else to compare."""


def queue(share: slice) -> list[Tensor]:
    rows = torch.randn(2, QUEUE, WIDTH, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return [r[QUEUE * share.start // BATCH : QUEUE * share.stop // BATCH] for r in rows.tanh()]


def swav(embeddings: list[Tensor], teacher: list[Tensor], share: slice) -> tuple[Result, dict[str, Tensor]]:
    result = SwappedPrediction()([e.tanh() for e in embeddings])
    codes = sinkhorn(embeddings[0].tanh())
    return result, {"codes, rows": codes, "perplexity": result.parts["code_perplexity"]}


def swav_queue(embeddings: list[Tensor], teacher: list[Tensor], share: slice) -> tuple[Result, dict[str, Tensor]]:
    scores = [e.tanh() for e in embeddings]
    objective = SwappedPrediction(epsilon=0.3)
    result = objective(scores, queue_scores=queue(share))
    codes = objective.codes(scores[:2], queue(share))
    return result, {"codes 0, rows": codes[0], "codes 1, rows": codes[1]}


def cold_sinkhorn(embeddings: list[Tensor], teacher: list[Tensor], share: slice) -> tuple[Result, dict[str, Tensor]]:
    """So cold that exp(score / epsilon) overflows float64: the sum over ranks has to stay in the log domain."""
    scores = [e.tanh() for e in embeddings]
    result = SwappedPrediction(epsilon=0.001)(scores)
    return result, {"codes, rows": sinkhorn(scores[0], epsilon=0.001)}


def cosine(embeddings: list[Tensor], teacher: list[Tensor], share: slice) -> tuple[Result, dict[str, Tensor]]:
    return NegativeCosine()(embeddings[0], teacher[1]), {}


def barlow(embeddings: list[Tensor], teacher: list[Tensor], share: slice) -> tuple[Result, dict[str, Tensor]]:
    result = BarlowTwins(weight=0.3)(embeddings[:2])
    return result, {f"part {name}": part for name, part in result.parts.items()}


def barlow_three_views(
    embeddings: list[Tensor], teacher: list[Tensor], share: slice
) -> tuple[Result, dict[str, Tensor]]:
    return BarlowTwins(weight=0.3)(embeddings), {}


def vicreg(embeddings: list[Tensor], teacher: list[Tensor], share: slice) -> tuple[Result, dict[str, Tensor]]:
    result = VICReg(target_std=2.0)(embeddings)
    return result, {name: result.parts[name] for name in ("variance", "covariance")}


def dino(embeddings: list[Tensor], teacher: list[Tensor], share: slice) -> tuple[Result, dict[str, Tensor]]:
    """The second step's loss, so that the centre which the first step left is in the value and in the gradient."""
    objective = SelfDistillation(WIDTH, centre_momentum=0.5).double()
    objective.update_centre(teacher[:2])
    return objective(embeddings, teacher[:2]), {"centre": objective.centre, "step": objective.step}


DUPLICATES = torch.tensor([1, 2, 3, 3, 1, 4, 5, 6])
BACKGROUND = torch.tensor([True, True, False, True, False, False, False, True])  # three here, one there


def densities(embeddings: list[Tensor], teacher: list[Tensor], share: slice) -> tuple[Result, dict[str, Tensor]]:
    """One term that all processes compute alike, and one that is a mean over samples."""
    alike = uniformity(embeddings[0], ids=DUPLICATES[share])
    return Result(alike - joint_entropy(embeddings, ids=DUPLICATES[share])), {"uniformity": alike.detach()}


def sepclr(embeddings: list[Tensor], teacher: list[Tensor], share: slice) -> tuple[Result, dict[str, Tensor]]:
    objective = SepCLR(salient_weight=3, null_weight=2)
    result = objective(embeddings, [e[:, :2] for e in embeddings], BACKGROUND[share], DUPLICATES[share])
    return result, {name: result.parts[name] for name in ("salient", "null")}


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (swav, swav_queue, cold_sinkhorn, cosine, barlow, barlow_three_views, vicreg, dino, densities, sepclr)
}
COUPLED = [name for name in CASES if name != "cosine"]


def one_row_each(embeddings: list[Tensor]) -> dict[str, Tensor]:
    """One sample per process is enough for batch statistics, since the statistics are of all of them."""
    return {type(o).__name__: o(embeddings).loss.detach() for o in (BarlowTwins(), VICReg())}


def inputs(batch: int = BATCH) -> tuple[Tensor, Tensor]:
    """``(V, B, F)`` inputs of the student and of the teacher; the halves of the batch differ in mean and in spread."""
    draw = torch.randn(2, VIEWS, batch, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    draw = draw + 0.7 * draw[0, 0]
    draw[:, :, batch // 2 :] = 2 * draw[:, :, batch // 2 :] + 0.5
    return draw[0], draw[1]


def encoder() -> nn.Linear:
    torch.manual_seed(11)
    return nn.Linear(6, WIDTH).double()


def run(case: Case, share: slice) -> dict[str, Tensor]:
    """Loss and gradients of one step on a share of the batch."""
    model = encoder()
    student, teacher = inputs()
    embeddings = list(model(student[:, share]))
    with torch.no_grad():
        targets = list(model(teacher[:, share]))
    result, others = case(embeddings, targets, share)
    result.loss.backward()
    means = {"loss, mean": result.loss.detach(), "weight, mean": model.weight.grad, "bias, mean": model.bias.grad}
    return {**means, **others}


def refusal(action: Callable[[], object]) -> str:
    try:
        action()
    except ShapeError as error:
        return str(error)
    return "nothing was refused"


def uneven(embeddings: list[Tensor]) -> dict[str, str]:
    actions: dict[str, Callable[[], object]] = {
        "SwappedPrediction": lambda: SwappedPrediction()(embeddings),
        "BarlowTwins": lambda: BarlowTwins()(embeddings),
        "VICReg": lambda: VICReg()(embeddings),
        "SelfDistillation": lambda: SelfDistillation(6).update_centre(embeddings),
    }
    return {name: refusal(action) for name, action in actions.items()}


def half(rank: int, batch: int = BATCH) -> slice:
    return slice(rank * batch // 2, (rank + 1) * batch // 2)


def process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = (folder / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    answers: dict[str, Any] = {name: run(case, half(rank)) for name, case in CASES.items()}
    answers["one row each"] = one_row_each(list(inputs(2)[0][:, half(rank, 2)]))
    answers["uneven"] = uneven(list(inputs()[0][:, : 3 + rank]))
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
    whole = run(CASES[name], slice(0, BATCH))
    first, second = ranks[0][name], ranks[1][name]
    assert set(first) == set(second) == set(whole)
    for key, expected in whole.items():
        if key.endswith("mean"):
            torch.testing.assert_close((first[key] + second[key]) / 2, expected, rtol=1e-9, atol=1e-11)
        elif key.endswith("rows"):
            torch.testing.assert_close(torch.cat([first[key], second[key]]), expected, rtol=1e-9, atol=1e-12)
        else:
            torch.testing.assert_close(first[key], expected, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(second[key], first[key], rtol=0, atol=0)


@pytest.mark.parametrize("name", COUPLED)
def test_halves_that_know_nothing_of_each_other_would_differ(name: str) -> None:
    whole = run(CASES[name], slice(0, BATCH))
    alone = [run(CASES[name], half(rank)) for rank in range(2)]
    for key in ("loss, mean", "weight, mean"):
        assert ((alone[0][key] + alone[1][key]) / 2 - whole[key]).abs().max() > 1e-3 * whole[key].abs().max()


def test_one_row_per_process_is_enough_for_statistics(ranks: list[dict[str, Any]]) -> None:
    whole = one_row_each(list(inputs(2)[0]))
    for name, expected in whole.items():
        mean = sum(answers["one row each"][name] for answers in ranks) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["SwappedPrediction", "BarlowTwins", "VICReg", "SelfDistillation"])
def test_unequal_batches_are_refused_on_every_process(ranks: list[dict[str, Any]], name: str) -> None:
    text = "batch size per rank: found between 3 and 4; allowed: equal on all ranks. Drop the uneven last batch."
    assert [answers["uneven"][name] for answers in ranks] == [text, text]


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
