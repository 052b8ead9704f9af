"""YAML and options are the same thing; what is misspelt is answered with the nearest right name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import toy
from counterpoint.errors import ConfigError, CounterpointError
from counterpoint.training import config as configs
from counterpoint.training.recipes import find_recipe

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)


def test_a_recipe_fills_everything_in() -> None:
    config = configs.parse(["toy/simclr"])
    assert (config.data, config.epochs, config.out) == ("digits", 2, "runs/toy-simclr")
    assert config.encoder.class_path.endswith("DigitNet")
    assert config.method.class_path.endswith("SimCLR")
    assert config.dataset.init_args.count == 1797


def test_yaml_and_options_are_the_same_thing(tmp_path: Path) -> None:
    words = ["--method.objective", "DCL", "--method.objective.temperature", "0.3", "--optimization.lr", "0.01"]
    by_options = configs.parse(["toy/simclr", "--batch-size", "32", *words])
    path = tmp_path / "c.yaml"
    path.write_text(configs.dump(by_options))
    assert configs.dump(configs.parse(["--config", str(path)])) == path.read_text()
    hand = {
        "recipe": "toy/simclr",
        "batch_size": 32,
        "optimization": {"lr": 0.01},
        "method": {
            "class_path": "counterpoint.methods.SimCLR",
            "init_args": {"objective": {"class_path": "DCL", "init_args": {"temperature": 0.3}}},
        },
    }
    path.write_text(yaml.safe_dump(hand))
    assert configs.dump(configs.parse(["--config", str(path)])) == configs.dump(by_options)


def test_options_win_over_yaml(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("recipe: toy/simclr\nepochs: 7\nseed: 3\n")
    config = configs.parse(["--config", str(path), "--epochs", "9"])
    assert (config.epochs, config.seed) == (9, 3)


def test_python_keywords_are_options_too() -> None:
    options = configs.flatten({"epochs": 3, "method": {"objective": "DCL"}, "workers": None})
    assert options == ["--epochs=3", "--method.objective=DCL", "--workers=null"]
    config = configs.parse(["toy/simclr", *options])
    assert config.method.init_args.objective.class_path.endswith("DCL")


@pytest.mark.parametrize("nothing", ["null", "None"])
def test_a_null_is_nothing_however_deep_it_stands(nothing: str) -> None:
    words = ["--workers", nothing, "--method.projector", nothing, "--method.objective", "FeatureTransform"]
    config = configs.parse(["toy/simclr", *words, "--method.objective.interpolate", nothing])
    objective = config.method.init_args.objective.init_args
    assert (config.workers, config.method.init_args.projector) == (None, None)
    assert (objective.interpolate, objective.extrapolate) == (None, "step")
    assert yaml.safe_load(configs.dump(config))["method"]["init_args"]["objective"]["init_args"]["interpolate"] is None


def test_the_method_gets_the_encoder_and_the_objective() -> None:
    config = configs.parse(["toy/simclr", "--method.objective", "DCL", "--encoder.width", "24"])
    built = configs.instantiate(config)
    assert built.method.encoder is built.encoder
    assert built.encoder.dim == 24
    assert type(built.method.objective).__name__ == "DCL"


class WideNet(toy.DigitNet):
    """Another encoder with an option of the same name."""

    def __init__(self, width: int = 48) -> None:
        super().__init__(width)


@pytest.mark.parametrize("name", ["WideNet", f"{__name__}.WideNet"])
def test_the_defaults_of_the_chosen_class_hold(name: str, tmp_path: Path) -> None:
    """Not those of the recipe's, though it has an option of that name; what is given holds in any case."""
    (tmp_path / "short.yaml").write_text(f"recipe: toy/simclr\nencoder: {name}\n")
    (tmp_path / "long.yaml").write_text(
        f"recipe: toy/simclr\nencoder: {{class_path: {name}, init_args: {{width: 9}}}}\n"
    )
    ways = {
        48: [
            ["toy/simclr", "--encoder", name],
            ["toy/simclr", f"--encoder={name}"],
            ["toy/simclr", "--encoder.class_path", name],
            ["toy/simclr", f'--encoder={{"class_path": "{name}"}}'],
            ["--config", str(tmp_path / "short.yaml")],
        ],
        9: [
            ["toy/simclr", "--encoder", name, "--encoder.width", "9"],
            ["toy/simclr", "--encoder.width", "9", "--encoder", name],
            ["--config", str(tmp_path / "long.yaml")],
        ],
        32: [["toy/simclr", "--encoder", "DigitNet"], ["toy/simclr", "--encoder", "toy.DigitNet"]],
    }
    for width, several in ways.items():
        for words in several:
            config = configs.parse(words)
            assert config.encoder.init_args.width == width, words
            assert config.encoder.class_path.endswith("DigitNet" if width == 32 else "WideNet")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["toy/simcrl"], "Did you mean 'simclr'"),
        (["tоys"], "of the form plugin/method"),
        (["toy/simclr", "--epohcs", "3"], "Did you mean 'epochs'"),
        (["toy/simclr", "--optimization.lrr", "3"], "Did you mean 'optimization.lr'"),
        (["toy/simclr", "--encoder.widht", "3"], "Unknown setting 'widht' of DigitNet. Did you mean 'width'"),
        (["toy/simclr", "--encoder", "DigtNet"], "Did you mean 'DigitNet'"),
        (["toy/simclr", "--method.objectve", "DCL"], "Did you mean 'objective'"),
        (["toy/simclr", "--method.objective", "DCLL"], "Did you mean 'DCL'"),
        (
            ["toy/simclr", "--method.objective", "DCL", "--method.objective.temprature", "1"],
            "Did you mean 'temperature'",
        ),
        (
            ["toy/simclr", "--method.objective", "core-tunning"],
            "Unknown class 'core-tunning' for 'method.objective'. Did you mean 'CoreTuning'?",
        ),
        (
            ["toy/simclr", "--encoder", "SwappedPrediction"],
            "Unknown class 'SwappedPrediction' for 'encoder'. There is: ",
        ),
        (["toy/simclr", "--method.projector", "Projectr"], "for 'method.projector'. Did you mean 'Projector'?"),
        (["toy/simclr", "--epochs", "0"], "epochs: found 0; allowed: a whole number from 1"),
        (["toy/simclr", "--batch-size", "1"], "batch_size: found 1"),
        (["toy/simclr", "--optimization.warmup", "2"], "a share from 0 to 1"),
        (["toy/simclr", "--data", "photos"], "There is no file or folder 'photos'. It opens: digits (the digits)"),
        (["toy/pair"], "needs modalities"),
        (["toy/moco"], "--data is missing"),
        ([], "Which recipe?"),
        (["--config", "nowhere.yaml"], "cannot be read"),
    ],
)
def test_misspelt_things_are_answered(words: list[str], expected: str) -> None:
    with pytest.raises(CounterpointError) as caught:
        configs.parse(words)
    assert expected in str(caught.value)


def test_names_of_other_kinds_are_not_offered() -> None:
    with pytest.raises(ConfigError) as caught:
        configs.parse(["toy/simclr", "--method.objective", "DigitNet"])
    offered = str(caught.value).partition("There is: ")[2]
    assert "SupReMix" in offered and not any(name in offered for name in ("DigitNet", "SimCLR", "Projector"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--epochs many", "epochs: found 'many'; allowed: a whole number."),
        ("--workers many", "workers: found 'many'; allowed: a whole number, or null."),
        ("--optimization.name adamm", "optimization.name: found 'adamm'; allowed: adamw, adam, sgd, lars."),
        ("--method.objective Hydra", "Hydra: --method.objective.classes is missing"),
        ("--method.objective Hydra --method.objective.classes x", "method.objective.classes: found 'x'; allowed: a wh"),
        (
            "--method.objective FeatureTransform --method.objective.interpolate x",
            "method.objective.interpolate: found 'x'; allowed: step, sample, dim, or null.",
        ),
        ("--method.projector Projector --method.projector.hidden_dim x", "method.projector.hidden_dim: found 'x'; all"),
    ],
)
def test_a_value_of_the_wrong_type_is_answered_in_a_line(words: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configs.parse(["toy/simclr", *words.split()])
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recipe: toy/simclr\nepohcs: 3\n", "Did you mean 'epochs'"),
        ("- a\n- b\n", "a mapping of settings is needed"),
        ("a: [", "is not YAML"),
        ("recipe: toy/simclr\nseed: !!python/object/apply:os.system ['true']\n", "is not YAML"),
    ],
)
def test_bad_yaml_is_answered(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        configs.parse(["--config", str(path)])
    assert expected in str(caught.value)


def test_print_config_shows_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        configs.parse(["toy/simclr", "--print_config"])
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["epochs"] == 2
    assert shown["encoder"]["init_args"]["width"] == 32


def test_find_recipe_knows_the_plugins_settings() -> None:
    assert find_recipe("toy/simclr").settings["batch_size"] == 64
    assert find_recipe("toy/byol").settings == {}
