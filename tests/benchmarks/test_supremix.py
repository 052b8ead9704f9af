"""SupReMix beside the form that its reference has: every mixture formed, rows x rows (x rows) x dimensions.

Time and extra memory of forward and backward, D = 128, one view, one thread. The broadcast form is written as the
reference writes it, except that both blocks of its denominator are shifted alike; values are compared first. Its mixed
positives grow with the cube of the batch, so at B = 256 it is measured with mixed negatives alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import measure
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.objectives import sup_re_mix_loss

pytestmark = pytest.mark.bench

SMOKE = measure.smoke()
DIM, T, WINDOW = 128, 0.3, 5.0
SIZE, WHOLE = (24, 12) if SMOKE else (256, 64)
LESS = 10.0
RESULTS: dict[str, object] = {}


def rows(size: int) -> Tensor:
    return torch.randn(size, DIM, generator=torch.Generator().manual_seed(0), requires_grad=True)


def targets(size: int) -> Tensor:
    return torch.randint(0, 40, (size,), generator=torch.Generator().manual_seed(1)).float()


def shares(size: int) -> Tensor:
    return torch.rand(size, size, generator=torch.Generator().manual_seed(2))


def ours(z: Tensor, positives: bool = True) -> Tensor:
    call = partial(sup_re_mix_loss, targets=targets(len(z)), temperature=T, window=WINDOW)
    return call([z], mix_positives=positives, shares=shares(len(z)), max_triples=0 if len(z) <= WHOLE else 256).loss


def broadcast(z: Tensor, positives: bool = True) -> Tensor:
    """All mixtures as vectors, all pairs and triples as masks."""
    z, y, size = F.normalize(z), targets(len(z)), len(z)
    fixed, share, apart = z.detach(), shares(size)[:, :, None], (y[:, None] - y).abs()
    eye = torch.eye(size, dtype=torch.bool)
    mixed = share * fixed[:, None] + (1 - share) * fixed
    negative = (z[:, None] * mixed).sum(2) / T + torch.log1p((1 - share[:, :, 0]) * apart)
    logits = z @ z.t() / T
    blocks = [(logits + torch.log1p(apart)).masked_fill(eye, -torch.inf), negative.masked_fill(apart == 0, -torch.inf)]
    same = (apart == 0) & ~eye
    total, count = (logits * same).sum(1), same.sum(1)
    if positives:
        below = (y[:, None] > y) & (apart < WINDOW)
        above = (y[:, None] < y) & (apart < WINDOW)
        there = below[:, :, None] & above[:, None, :]
        part = (y - y[:, None])[:, None, :] / (y - y[:, None])[None].where(there, torch.ones(()))
        part = part.where(there, torch.zeros(()))[..., None]
        triples = part * fixed[None, :, None] + (1 - part) * fixed[None, None]
        found = (z[:, None, None] * triples).sum(3) / T
        blocks.append(found.masked_fill(~there, -torch.inf).flatten(1))
        total, count = total + (found * there).sum((1, 2)), count + there.sum((1, 2))
    denominator = torch.cat(blocks, 1).logsumexp(1)
    return (denominator - total / count.clamp_min(1))[count > 0].mean()


FORMS: dict[str, Callable[..., Tensor]] = {"ours": ours, "broadcast": broadcast}


def step(form: str, size: int, positives: bool) -> Callable[[], object]:
    z = rows(size)

    def run() -> None:
        z.grad = None
        FORMS[form](z, positives).backward()

    return run


def save(name: str, found: object) -> None:
    RESULTS[name] = found
    measure.write("supremix", RESULTS)


@pytest.mark.parametrize("positives", [False, True])
def test_values_and_gradients_are_equal(positives: bool) -> None:
    z = rows(WHOLE)
    losses = [form(z, positives) for form in FORMS.values()]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)
    mine, theirs = (torch.autograd.grad(loss, z)[0] for loss in losses)
    assert (mine - theirs).abs().max() < 1e-4 * theirs.abs().max()


SETUP = """
import torch, test_supremix
torch.set_num_threads(1)
test_supremix.step({form!r}, 8, {positives})()
run = test_supremix.step({form!r}, {size}, {positives})
"""
CASES = {"all": (WHOLE, True), "negatives": (SIZE, False)}


def mebibytes(form: str, size: int, positives: bool) -> float:
    """Extra memory of one step."""
    return round(measure.memory(SETUP.format(form=form, size=size, positives=positives), "run()"), 1)


@pytest.mark.parametrize("case", CASES)
def test_time_and_memory(case: str) -> None:
    size, positives = CASES[case]
    times = measure.interleaved({form: step(form, size, positives) for form in FORMS}, repeats=3)
    extra = {form: mebibytes(form, size, positives) for form in FORMS}
    milliseconds = {form: round(1000 * timing.cpu, 2) for form, timing in times.items()}
    print(f"\n{case}, B = {size}: {milliseconds} ms, {extra} MiB")
    save(f"{case}, B = {size}", {"milliseconds": milliseconds, "MiB": extra, "target": f"{LESS:g} times less memory"})
    if not SMOKE:
        assert extra["ours"] * LESS <= extra["broadcast"]
        assert milliseconds["ours"] <= milliseconds["broadcast"]


def test_memory_with_mixed_positives_at_a_size_where_they_cannot_be_formed() -> None:
    """Against the reference's one tensor of mixed positives, which is computed and not allocated."""
    found = {"ours": mebibytes("ours", SIZE, True), "mixed positives alone, computed": SIZE**3 * DIM * 4 / 2**20}
    print(f"\nall, B = {SIZE}: {found} MiB")
    save(f"all, B = {SIZE}", {"MiB": found, "target": f"{LESS:g} times less memory"})
    if not SMOKE:
        assert found["ours"] * LESS <= found["mixed positives alone, computed"]
