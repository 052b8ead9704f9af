"""Methods under Lightning, as they stand and as configuration makes them; SimCLR with other objectives and towers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from counterpoint import methods
from counterpoint.errors import ConfigError, ShapeError
from counterpoint.methods import METHODS, Method, MoCo, SimCLR
from counterpoint.objectives import (
    DCL,
    BarlowTwins,
    InfoNCE,
    NegativeCosine,
    NTXent,
    Objective,
    Result,
    Sigmoid,
    SupCon,
    VICReg,
)
from counterpoint.parts import Encoder, Towers
from counterpoint.training import config as configs
from counterpoint.types import Batch, View
from toy import DigitNet, Digits, NoisyShifts, install

pytestmark = pytest.mark.unit


def material(step: int = 0, size: int = 16, names: tuple[str, str] = ("digit", "digit")) -> tuple[Batch, list[View]]:
    data = Digits("digits", count=64)
    batch = data.batch([(size * step + i) % 64 for i in range(size)])
    views = NoisyShifts()(batch, torch.Generator().manual_seed(step))
    for view, name in zip(views, names):
        view.modality = name
    return batch, views


def towers() -> Towers:
    return Towers({"digit": DigitNet(8), "other": DigitNet(8)})


def fit(method: Method, steps: int, folder: Path, names: tuple[str, str] = ("digit", "digit")) -> lightning.Trainer:
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    loader = DataLoader([material(step, names=names) for step in range(steps)], batch_size=None)
    trainer.fit(method, loader)
    return trainer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", METHODS)
def test_lightnings_trainer_does_what_a_loop_of_ones_own_does(name: str, tmp_path: Path) -> None:
    names = ("digit", "other") if name == "pair" else ("digit", "digit")

    def make() -> Method:
        torch.manual_seed(0)
        encoder: Encoder = towers() if name == "pair" else DigitNet(8)
        method: Method = METHODS[name].load()(encoder)
        method.total_steps = 3
        return method

    trained = make()
    trained.optimization = lambda method: torch.optim.AdamW(method.parameter_groups(), lr=1e-3)
    fit(trained, 3, tmp_path, names)
    own = make()
    optimizer = torch.optim.AdamW(own.parameter_groups(), lr=1e-3)
    for step in range(3):
        batch, views = material(step, names=names)
        own(views, batch).loss.backward()
        own.after_backward()
        optimizer.step()
        optimizer.zero_grad()
        own.after_step()
    assert int(trained.steps) == 3
    for key, value in own.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[key], value, msg=lambda m, key=key: f"{key}: {m}")


def test_without_an_optimisation_the_trainer_is_told_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"optimization: found None; allowed: a function method -> optimiser"):
        SimCLR(DigitNet(8)).configure_optimizers()


# SimCLR with any objective


@pytest.mark.parametrize(
    "objective",
    [NTXent(), DCL(0.3), SupCon(), BarlowTwins(), VICReg(), Sigmoid(), InfoNCE()],
    ids=lambda o: type(o).__name__,
)
@pytest.mark.parametrize("labelled", [True, False])
def test_simclr_takes_any_objective_that_compares_embeddings(objective: Objective, labelled: bool) -> None:
    torch.manual_seed(0)
    method = SimCLR(DigitNet(8), objective)
    batch, views = material()
    if not labelled:
        batch.label = None
    step = method(views, batch)
    step.loss.backward()
    assert torch.isfinite(step.loss)
    assert method.encoder.conv1.weight.grad.abs().max() > 0
    assert step.chance is not None


def test_simclr_with_supcon_uses_labels_where_there_are_any() -> None:
    batch, views = material()
    losses = {}
    for label in ("known", "unknown", "none"):
        torch.manual_seed(0)
        method = SimCLR(DigitNet(8), SupCon(0.2))
        batch.label = {"known": batch.index % 3, "unknown": torch.full((16,), -1), "none": None}[label]
        losses[label] = method(views, batch).loss.detach()
    torch.manual_seed(0)
    plain = SimCLR(DigitNet(8), NTXent(0.2))(views, batch).loss.detach()
    torch.testing.assert_close(losses["unknown"], plain)
    torch.testing.assert_close(losses["none"], plain)
    assert losses["known"] > plain + 0.05


def test_simclr_hands_targets_to_an_objective_that_takes_them() -> None:
    class Seen(NTXent):
        def forward(self, embeddings, ids=None, negatives=None, *, targets=None):
            self.targets = targets
            return super().forward(embeddings, ids, negatives)

    batch, views = material()
    batch.target = torch.arange(16.0)
    method = SimCLR(DigitNet(8), Seen())
    method(views, batch)
    assert method.objective.targets is batch.target


def test_simclr_refuses_an_objective_of_another_kind() -> None:
    with pytest.raises(ConfigError, match=r"SimCLR: objective: found NegativeCosine; allowed: .*NTXent"):
        SimCLR(DigitNet(8), NegativeCosine())


def test_simclr_over_towers_is_clip_without_the_learnt_temperature() -> None:
    torch.manual_seed(0)
    method = SimCLR(towers(), InfoNCE(0.1))
    batch, views = material(names=("digit", "other"))
    step = method(views, batch)
    step.loss.backward()
    for name in ("digit", "other"):
        assert method.encoder.towers[name].conv1.weight.grad.abs().max() > 0
    a, b = (torch.nn.functional.normalize(z, dim=1) for z in step.pair)
    logits = a @ b.T / 0.1
    wanted = (
        torch.nn.functional.cross_entropy(logits, torch.arange(16))
        + torch.nn.functional.cross_entropy(logits.T, torch.arange(16))
    ) / 2
    torch.testing.assert_close(step.loss.detach(), wanted)


def test_pair_learns_its_temperature_and_takes_siglips_loss() -> None:
    batch, views = material(names=("digit", "other"))
    method = methods.Pair(towers())
    method(views, batch).loss.backward()
    assert method.objective.temperature.log_scale.grad.abs() > 0
    sigmoid = methods.Pair(towers(), Sigmoid())
    assert torch.isfinite(sigmoid(views, batch).loss)


def test_pair_wants_two_modalities_that_its_encoder_has() -> None:
    batch, views = material()
    with pytest.raises(ShapeError, match=r"Pair: modalities of the views: found digit; allowed: two of: digit, other"):
        methods.Pair(towers())(views, batch)
    with pytest.raises(ConfigError, match=r"Pair: encoder: found Towers of digit; allowed: two modalities or more"):
        methods.Pair(Towers({"digit": DigitNet(8)}))


# Configuration


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.mark.usefixtures("_toy")
def test_objective_and_head_are_configuration() -> None:
    words = ["--method.objective", "DCL", "--method.objective.temperature", "0.3"]
    words += [
        "--method.projector",
        "Projector",
        "--method.projector.hidden_dim",
        "48",
        "--method.projector.layers",
        "3",
    ]
    built = configs.instantiate(configs.parse(["toy/simclr", *words])).method
    assert type(built.objective) is DCL
    assert built.objective.temperature.fixed == 0.3
    linears = [m for m in built.projector.modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linears] == [(32, 48), (48, 48), (48, 128)]


@pytest.mark.usefixtures("_toy")
@pytest.mark.parametrize("name", [name for name in METHODS if name != "pair"])
def test_a_methods_complete_configuration_repeats_it(name: str, tmp_path: Path) -> None:
    pair = ["--background", "digits", "--target", "dotted"]
    config = configs.parse([f"toy/{name}", *(pair if METHODS[name].load().contrasted else ["--data", "digits"])])
    path = tmp_path / "config.yaml"
    path.write_text(configs.dump(config))
    again = configs.parse(["--config", str(path)])
    assert configs.dump(again) == path.read_text()
    assert type(configs.instantiate(again).method) is METHODS[name].load()


@pytest.mark.usefixtures("_toy")
@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("toy/moco", ["--method.queue_size", "128", "--method.momentum", "0.95", "--method.symmetric", "false"]),
        ("toy/swav", ["--method.prototypes", "12", "--method.queue_size", "64", "--method.freeze_share", "0.2"]),
        ("toy/byol", ["--method.predictor", "Predictor", "--method.predictor.hidden_dim", "24"]),
        ("toy/dino", ["--method.projector", "DINOHead", "--method.projector.prototypes", "40"]),
    ],
)
def test_every_number_of_a_method_is_a_setting(recipe: str, words: list[str]) -> None:
    built = configs.instantiate(configs.parse([recipe, "--data", "digits", *words])).method
    found = {
        "moco": lambda m: (m.queue.size, m.twin.momentum, m.symmetric) == (128, 0.95, False),
        "swav": lambda m: (len(m.prototypes.weight), m.queues[0].size, m.freeze_share) == (12, 64, 0.2),
        "byol": lambda m: m.predictor.layers[0].out_features == 24,
        "dino": lambda m: (m.projector.out_dim, m.objective.prototypes) == (40, 40),
    }
    assert found[recipe.partition("/")[2]](built)


def test_moco_shows_its_monitors_what_its_queries_were_compared_with() -> None:
    method = MoCo(DigitNet(8), queue_size=64)
    for step in range(2):
        batch, views = material(step)
        told = method(views, batch)
        assert told.queue is not None and told.pair is not None
        rows, ids = told.queue
        expected = batch.content if step == 0 else material(0)[0].content
        assert torch.equal(ids[:16], expected) and not rows.requires_grad
        method.after_step()


class Told(NTXent):
    """Notes the progress that it is told."""

    def __init__(self) -> None:
        super().__init__(0.2)
        self.heard: list[float] = []

    def forward(self, embeddings: Sequence[Tensor], *args: Any) -> Result:
        self.heard.append(self.progress)
        return super().forward(embeddings, *args)


def test_an_objective_is_told_how_much_of_the_training_is_done() -> None:
    objective = Told()
    method = SimCLR(DigitNet(8), objective)
    method(*reversed(material()))
    method.total_steps = 4
    for _ in range(6):
        method(*reversed(material()))
        method.after_step()
    assert objective.heard == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
