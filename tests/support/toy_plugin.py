"""The toy plugin's metadata, which loads no torch; its parts are in `toy`."""

from __future__ import annotations

from counterpoint.plugin import Part, Plugin

TOY = Plugin(
    name="toy",
    summary="digits",
    modalities=("digit",),
    datasets={"digits": Part("toy:Digits", "the digits", example={"source": "digits", "count": 60})},
    views={
        "shifts": Part("toy:NoisyShifts", "noisy shifts"),
        "mirrored": Part(
            "toy:Mirrored", "the image and its mirror image", exempt={"random": "without chance on purpose"}
        ),
    },
    encoders={"digitnet": Part("toy:DigitNet", "two convolutions", capabilities=frozenset({"tokens"}))},
    tasks={"nearest": Part("toy:Nearest", "the class whose mean is nearest")},
    recipes={"simclr": {"data": "digits", "epochs": 2, "batch_size": 64}},
)
