"""Contrastive losses, forward and backward, D = 128, one thread: against the bare products, plain torch, and peers.

"Floor" is the similarity matrix and the two products of its gradient, nothing else. "Plain" is the loss as one would
write it down: the whole matrix and cross entropy. Peers take part where they are installed: lightly,
pytorch-metric-learning, open_clip. Values are compared before anything is timed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import measure
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.objectives import DCL, InfoNCE, NTXent, Sigmoid, SupCon

pytestmark = pytest.mark.bench

SMOKE = measure.smoke()
DIM, T = 128, 0.1
CLASSES = 50
SMALL = [64] if SMOKE else [64, 128, 256, 512, 1024]
LARGE = 256 if SMOKE else 4096
RATIO, MEMORY, LIGHTLY, PML = 1.5, 150.0, 3.0, 5.0
RESULTS: dict[str, object] = {}
Loss = Callable[[Tensor, Tensor], Tensor]


def pair(size: int) -> tuple[Tensor, Tensor]:
    """Two views that share a part."""
    rows = torch.randn(3, size, DIM, generator=torch.Generator().manual_seed(0))
    return (rows[1] + rows[0]).requires_grad_(), (rows[2] + rows[0]).requires_grad_()


def labels(size: int) -> Tensor:
    return torch.arange(size) % CLASSES


def ours() -> dict[str, Loss]:
    nt_xent, dcl, sup_con, info_nce = NTXent(T), DCL(T), SupCon(T), InfoNCE(T)
    sigmoid = Sigmoid(T, -10.0, learnable_temperature=False, learnable_bias=False)
    return {
        "NT-Xent": lambda a, b: nt_xent([a, b]).loss,
        "DCL": lambda a, b: dcl([a, b]).loss,
        "SupCon": lambda a, b: sup_con([a, b], labels=labels(len(a))).loss,
        "InfoNCE": lambda a, b: info_nce([a, b]).loss,
        "sigmoid": lambda a, b: sigmoid([a, b]).loss,
    }


def joined(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Unit rows of both views, and their similarities over the temperature without the diagonal."""
    z = F.normalize(torch.cat([a, b]))
    return z, (z @ z.t() / T).fill_diagonal_(-torch.inf)


def plain_nt_xent(a: Tensor, b: Tensor) -> Tensor:
    return F.cross_entropy(joined(a, b)[1], torch.arange(2 * len(a)).roll(len(a)))


def plain_dcl(a: Tensor, b: Tensor) -> Tensor:
    z, logits = joined(a, b)
    first, second = z.chunk(2)
    same = torch.eye(len(a), dtype=torch.bool).repeat(2, 2)
    positive = (first * second).sum(1) / T
    return (logits.masked_fill(same, -torch.inf).logsumexp(1) - positive.repeat(2)).mean()


def plain_sup_con(a: Tensor, b: Tensor) -> Tensor:
    logits = joined(a, b)[1]
    y = labels(len(a)).repeat(2)
    positive = (y[:, None] == y).fill_diagonal_(False)
    return -(logits.log_softmax(1).masked_fill(~positive, 0.0).sum(1) / positive.sum(1)).mean()


def plain_info_nce(a: Tensor, b: Tensor) -> Tensor:
    logits = F.normalize(a) @ F.normalize(b).t() / T
    target = torch.arange(len(a))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


def plain_sigmoid(a: Tensor, b: Tensor) -> Tensor:
    logits = F.normalize(a) @ F.normalize(b).t() / T - 10.0
    return -F.logsigmoid(logits * (2 * torch.eye(len(a)) - 1)).sum() / len(a)


PLAIN: dict[str, Loss] = {
    "NT-Xent": plain_nt_xent,
    "DCL": plain_dcl,
    "SupCon": plain_sup_con,
    "InfoNCE": plain_info_nce,
    "sigmoid": plain_sigmoid,
}
SIDES = {"NT-Xent": 2, "DCL": 2, "SupCon": 2, "InfoNCE": 1, "sigmoid": 1}


def peers() -> dict[str, dict[str, Loss]]:
    """Loss -> library -> call."""
    found: dict[str, dict[str, Loss]] = {name: {} for name in PLAIN}
    if importlib.util.find_spec("lightly"):
        from lightly import loss as lightly

        found["NT-Xent"]["lightly"] = lightly.NTXentLoss(temperature=T)
        found["DCL"]["lightly"] = lightly.DCLLoss(temperature=T)
    if importlib.util.find_spec("pytorch_metric_learning"):
        from pytorch_metric_learning.losses import SupConLoss

        metric = SupConLoss(temperature=T)
        found["SupCon"]["pytorch-metric-learning"] = lambda a, b: metric(torch.cat([a, b]), labels(len(a)).repeat(2))
    if importlib.util.find_spec("open_clip"):
        from open_clip.loss import ClipLoss, SigLipLoss

        clip, siglip = ClipLoss(), SigLipLoss()
        scale, bias = torch.tensor(1 / T), torch.tensor(-10.0)
        found["InfoNCE"]["open_clip"] = lambda a, b: clip(F.normalize(a), F.normalize(b), scale)
        found["sigmoid"]["open_clip"] = lambda a, b: siglip(F.normalize(a), F.normalize(b), scale, bias)
    return found


def floor(rows: int) -> Callable[[], object]:
    """The three bare products of a ``rows x rows`` matrix."""
    z = torch.randn(rows, DIM)

    def products() -> None:
        matrix = z @ z.t()
        matrix @ z, matrix.t() @ z

    return products


def step(loss: Loss, size: int) -> Callable[[], object]:
    a, b = pair(size)

    def run() -> None:
        a.grad = b.grad = None
        loss(a, b).backward()

    return run


def save(name: str, found: object) -> None:
    """Put one table into losses.json, beside those that ran before it."""
    RESULTS[name] = found
    measure.write("losses", RESULTS)


def show(title: str, found: dict[str, float]) -> None:
    print(f"\n{title}: " + ", ".join(f"{name} {value:.3g}" for name, value in found.items()))


@pytest.mark.parametrize("name", PLAIN)
def test_values_and_gradients_are_equal(name: str) -> None:
    size = 64 if SMOKE else 1100  # beyond one tile
    a, b = pair(size)
    expected = torch.autograd.grad(PLAIN[name](a.double(), b.double()), [a, b])
    value = PLAIN[name](a.double(), b.double()).detach()
    for loss in (ours()[name], *peers()[name].values()):
        found = loss(a, b)
        torch.testing.assert_close(found.double(), value, rtol=1e-5, atol=0)
        for mine, theirs in zip(torch.autograd.grad(found, [a, b]), expected):
            assert (mine - theirs).abs().max() < 1e-4 * theirs.abs().max()
    torch.testing.assert_close(ours()[name](a, b).double(), value, rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", SMALL)
@pytest.mark.parametrize("name", PLAIN)
def test_small_batches_against_plain_torch(name: str, size: int) -> None:
    cases = {"ours": step(ours()[name], size), "plain": step(PLAIN[name], size)}
    cases |= {library: step(loss, size) for library, loss in peers()[name].items()}
    times = measure.interleaved(cases, repeats=3 if SMOKE else max(20, 40_000 // size))
    milliseconds = {case: round(1000 * t.cpu, 3) for case, t in times.items()}
    ratio = milliseconds["ours"] / milliseconds["plain"]
    show(f"{name}, B = {size}, ms", milliseconds)
    save(f"{name}, B = {size}", {"milliseconds": milliseconds, "times plain": round(ratio, 3), "target": 1.0})
    if not SMOKE:
        assert ratio <= 1.0, "slower than plain torch"


@pytest.mark.parametrize("name", PLAIN)
def test_large_batches_against_the_bare_products(name: str) -> None:
    cases = {"floor": floor(SIDES[name] * LARGE), "ours": step(ours()[name], LARGE)}
    cases |= {library: step(loss, LARGE) for library, loss in peers()[name].items()}
    times = measure.interleaved(cases, repeats=3)
    milliseconds = {case: round(1000 * t.cpu, 1) for case, t in times.items()}
    ratio = {case: round(value / milliseconds["floor"], 3) for case, value in milliseconds.items()}
    show(f"{name}, B = {LARGE}, ms", milliseconds)
    save(f"{name}, B = {LARGE}", {"milliseconds": milliseconds, "times floor": ratio, "target": RATIO})
    if not SMOKE:
        assert ratio["ours"] <= RATIO
        assert ratio.get("lightly", torch.inf) >= LIGHTLY * ratio["ours"]
        assert ratio.get("pytorch-metric-learning", torch.inf) >= PML * ratio["ours"]


SETUP = """
import torch, test_losses
torch.set_num_threads(1)
loss = {table}[{name!r}]{library}
test_losses.step(loss, 64)()
run = test_losses.step(loss, {size})
"""
OURS, PEERS = "test_losses.ours()", "test_losses.peers()"


def mebibytes(name: str, size: int, library: str | None = None) -> float:
    """Extra memory of one step: everything beside the two inputs, their gradients included."""
    table, pick = (OURS, "") if library is None else (PEERS, f"[{library!r}]")
    return measure.memory(SETUP.format(table=table, name=name, library=pick, size=size), "run()")


@pytest.mark.parametrize("name", list(PLAIN)[:1] if SMOKE else PLAIN)
def test_memory_grows_with_the_batch_and_not_with_its_square(name: str) -> None:
    sizes = [128, 256] if SMOKE else [2048, 4096, 8192, 16384]
    found = {f"ours, B = {size}": round(mebibytes(name, size), 1) for size in sizes}
    for library in () if SMOKE else peers()[name]:
        for size in sizes[:2]:
            found[f"{library}, B = {size}"] = round(mebibytes(name, size, library), 1)
    show(f"{name}, MiB", found)
    save(f"{name}, memory", {"MiB": found, "target at B = 8192": MEMORY})
    if not SMOKE:
        ours_at = [found[f"ours, B = {size}"] for size in sizes]
        assert ours_at[2] < MEMORY
        assert ours_at[3] < 2.5 * ours_at[2] and ours_at[2] < 2.5 * ours_at[1], "linear: twice the batch, twice the MiB"
