"""Gradient caching against the plain step: time, memory against the batch, gradients with dropout.

A small transformer and a small convolutional network, forward and backward of NT-Xent between the two halves of the
rows, one thread. "Plain" is the whole batch at once, "cached" is `encode_in_chunks`, "explicit" the form of the paper
(Gao et al. 2021) written by hand: encode without gradients, take the embeddings' gradients, encode again; "checkpoint"
is `torch.utils.checkpoint` around each chunk (which BatchNorm's running statistics would not survive). The paper's
floor is one more forward pass, 4/3 where a backward pass costs two; its measured value stands beside it. Ours encodes
the last chunk once, and chunks fit the processor's cache, so that it may come out below.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import measure
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from counterpoint.nn import encode_in_chunks
from counterpoint.objectives import NTXent
from counterpoint.parts import Encoder
from counterpoint.types import Encoding, View

pytestmark = pytest.mark.bench

SMOKE = measure.smoke()
ROWS, MICRO = (16, 4) if SMOKE else (128, 16)
TIME, EXACT, SLOPE = 1.36, 1e-6, 0.05
RESULTS: dict[str, object] = {}
Encode = Callable[[Encoder, Tensor], Tensor]


class SmallTransformer(Encoder):
    """4 layers of width 256 over 32 tokens, with dropout."""

    capabilities = frozenset({"tokens"})

    def __init__(self) -> None:
        super().__init__()
        self.dim = 256
        layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def forward(self, view: View) -> Encoding:
        tokens = self.layers(view.data)
        return Encoding(tokens.mean(1), tokens)


class SmallConv(Encoder):
    """Four convolutions over images of 32 pixels, with BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 128
        widths = (3, 32, 64, 128, 128)
        blocks = [
            nn.Sequential(nn.Conv2d(a, b, 3, 1 if a == 3 else 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(widths)
        ]
        self.net = nn.Sequential(*blocks)

    def forward(self, view: View) -> Encoding:
        return Encoding(self.net(view.data).mean((2, 3)))


def inputs(name: str, rows: int) -> Tensor:
    shape = (32, 256) if name == "SmallTransformer" else (3, 32, 32)
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))


def plain(encoder: Encoder, data: Tensor) -> Tensor:
    pooled: Tensor = encoder(View(data, "x")).pooled
    return pooled


def in_a_loop(encoder: Encoder, data: Tensor) -> Tensor:
    return torch.cat([plain(encoder, chunk) for chunk in data.split(MICRO)])


def cached(encoder: Encoder, data: Tensor) -> Tensor:
    return encode_in_chunks(encoder, View(data, "x"), MICRO, pooled_only=True).pooled


def checkpointed(encoder: Encoder, data: Tensor) -> Tensor:
    return torch.cat([checkpoint(plain, encoder, chunk, use_reentrant=False) for chunk in data.split(MICRO)])


def loss_of(pooled: Tensor) -> Tensor:
    return NTXent(0.2)(pooled.chunk(2)).loss


def step(encode: Encode, encoder: Encoder, data: Tensor) -> None:
    encoder.zero_grad()
    loss_of(encode(encoder, data)).backward()


def explicit(encoder: Encoder, data: Tensor) -> None:
    encoder.zero_grad()
    chunks, states = data.split(MICRO), []
    embeddings = []
    with torch.no_grad():
        for chunk in chunks:
            states.append(torch.get_rng_state())
            embeddings.append(plain(encoder, chunk))
    pooled = torch.cat(embeddings).requires_grad_()
    loss_of(pooled).backward()
    assert pooled.grad is not None
    for chunk, state, gradient in zip(chunks, states, pooled.grad.split(MICRO)):
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            plain(encoder, chunk).backward(gradient)


def gradients(run: Callable[[], None], encoder: Encoder) -> list[Tensor]:
    torch.manual_seed(7)
    run()
    return [p.grad.clone() for p in encoder.parameters() if p.grad is not None]


def difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Largest difference, relative to the largest gradient of all."""
    largest = max(float(b.abs().max()) for b in wanted)
    return max(float((a - b).abs().max()) for a, b in zip(found, wanted)) / largest


@pytest.mark.parametrize(("kind", "repeats"), [(SmallTransformer, 9), (SmallConv, 25)])
def test_time_and_gradients(kind: type[Encoder], repeats: int) -> None:
    torch.manual_seed(0)
    encoder, data = kind(), inputs(kind.__name__, ROWS)
    wanted = gradients(lambda: step(in_a_loop, encoder, data), encoder)  # the same chunks, everything kept
    error = difference(gradients(lambda: step(cached, encoder, data), encoder), wanted)
    assert error <= EXACT

    def forward_only() -> None:
        with torch.no_grad():
            in_a_loop(encoder, data)

    timings = measure.interleaved(
        {
            "plain": lambda: step(plain, encoder, data),
            "cached": lambda: step(cached, encoder, data),
            "explicit": lambda: explicit(encoder, data),
            "checkpoint": lambda: step(checkpointed, encoder, data),
            "one more forward pass": forward_only,
        },
        repeats=1 if SMOKE else repeats,
    )
    whole = timings["plain"].cpu
    ratio, floor = timings["cached"].cpu / whole, 1 + timings["one more forward pass"].cpu / whole
    found = {
        "what": f"{ROWS} rows in chunks of {MICRO}, forward and backward, one thread, least of {repeats} repeats",
        "seconds": {name: measure.rounded(timing) for name, timing in timings.items()},
        "times the plain step": round(ratio, 3),
        "explicit form": round(timings["explicit"].cpu / whole, 3),
        "checkpoint form": round(timings["checkpoint"].cpu / whole, 3),
        "floor: plain and one more forward pass": round(floor, 3),
        "target": TIME,
        "gradient difference with dropout": error,
    }
    save(f"time of {kind.__name__}", found)
    if not SMOKE:
        assert ratio <= TIME


@pytest.mark.parametrize("name", ["SmallTransformer", "SmallConv"])
def test_memory_does_not_grow_with_the_batch(name: str) -> None:
    few, many = (8, 16) if SMOKE else (128, 512)
    found: dict[str, dict[str, float]] = {}
    for encode in ("plain", "cached"):
        little, much = (round(growth(name, encode, rows), 1) for rows in (few, many))
        found[encode] = {
            str(few): little,
            str(many): much,
            "for each row more": round((much - little) / (many - few), 4),
        }
    save(f"memory of {name}", {"what": "MiB that a step adds, gradients and embeddings included", "MiB": found})
    if not SMOKE:  # the embeddings of a row, their gradients and unit rows are 3 KiB, the allocator's gaps a few MiB
        assert found["cached"]["for each row more"] <= SLOPE * found["plain"]["for each row more"]
        assert found["cached"]["512"] < found["plain"]["512"] / 4


def growth(name: str, encode: str, rows: int) -> float:
    here = str(Path(__file__).parent)
    setup = (
        f"sys.path.insert(0, {here!r})\nimport torch\ntorch.set_num_threads(1)\nimport test_gradient_caching as b\n"
        f"torch.manual_seed(0)\nencoder = b.{name}()\n"
        f"b.step(b.{encode}, encoder, b.inputs({name!r}, 2 * b.MICRO))\n"  # code and thread pools are in memory now
        f"data = b.inputs({name!r}, {rows})"
    )
    return measure.memory(setup, f"b.step(b.{encode}, encoder, data)")


def save(name: str, found: dict[str, object]) -> None:
    """Put one table into gradient_caching.json, beside those that ran before it."""
    RESULTS[name] = found
    measure.write("gradient_caching", RESULTS)
