"""Two image encoders fused to one image tower, and a text transformer (CoME-VL)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from counterpoint.errors import ConfigError, message
from counterpoint.parts import Dataset, Encoder, Views
from counterpoint.types import Encoding, View
from counterpoint_multimodal.encoders.fusion import Fusion, Grid
from counterpoint_multimodal.encoders.members import Member, borrow, described, from_run
from counterpoint_multimodal.encoders.text import TextTransformer
from counterpoint_multimodal.encoders.towers import PairTowers

IMAGES = ("vision/tinyvit", "vision/tinyvit")
OPTIONS: tuple[dict[str, Any] | None, ...] = (None, {"patch": 8})
NONE = (None, None)


class FusedImages(Encoder):
    """Two image encoders, one image tower: ``pooled`` is the mean of the fused tokens.

    Args:
        members: the encoder that asks (CLIP's), and the one that answers (DINO's).
        fusion: what joins them.
    """

    capabilities = frozenset({"tokens", "dense"})

    def __init__(self, members: Sequence[Member], fusion: Fusion) -> None:
        super().__init__()
        self.members, self.fusion = nn.ModuleList(members), fusion
        self.dim = fusion.dim

    def stacks(self, view: View) -> tuple[tuple[Tensor, Tensor], tuple[Grid, Grid]]:
        """What both encoders tell of an image view, before it is fused: layers ``(B, K, N, F)`` each, and grids.

        With frozen encoders it may be kept, and the fusion alone be trained on it (see `tasks.Grounding`).
        """
        (first, grid), (second, other) = (member(view) for member in self.members)
        return (first, second), (grid, other)

    def forward(self, view: View) -> Encoding:
        """``(B, 3, H, W)`` floats -> pooled ``(B, dim)``, tokens ``(B, M, dim)``, row by row.

        Raises:
            ShapeError: ``view.data`` is no such tensor.
        """
        stacks, grids = self.stacks(view)
        tokens: Tensor = self.fusion(*stacks, grids)
        return Encoding(tokens.mean(1), tokens)


class FusedTowers(PairTowers):
    """CLIP whose image tower is two complementary encoders: one that knows words, one that knows places.

    A contrastive encoder agrees with texts, a self-supervised one holds denser and more spatial features. Their layers
    are mixed and fused to as many tokens as the first alone gives; see `fusion.Fusion`. Encoders of finished runs bring
    their weights and are frozen: the fusion and the text tower are what is then trained. Views must normalise as those
    of the runs did (ours all do alike).

    Args:
        dim: width of the space shared with texts.
        images: the two image encoders as ``plugin/encoder``; the first asks, the second answers.
        image_options: their arguments.
        runs: in place of the two above, directories of finished runs whose encoders are taken; null for none. Of
            encoders of several modalities the image tower.
        sizes: side in pixels of the pictures that each sees; null: as they come.
        layers: of each, the layers that are mixed: "all", "calm", or numbers from 0. "calm": the deepest run of layers
            whose attention is less spread than on average, measured on training pictures; all of an encoder that does
            not come from a run, as it has learnt nothing yet.
        frozen: of each, whether its weights stay as they are; null: those of runs do.
        width: of the fused tokens.
        heads: attention heads of the fusion.
        radius: how far a token looks into the other grid, in shares of the picture's side; null: everywhere.
        rope: whether the fusion knows the tokens' places.
        pool: pool both grids 2 x 2 before they are fused.
        orthogonal: whether the mixers' maps are held orthogonal.
        per_layer: whether each layer has a first map of its own.
        text_width: width of the text transformer.
        text_layers: its blocks.
        text_heads: its attention heads.
        vocabulary: tokens of the vocabulary at most.
        max_tokens: of a caption; the rest is cut.

    Raises:
        ConfigError: a setting out of its range, not two of something, or an encoder that there is not.
        RunError: a run that is missing or unfinished.

    Source: CoME-VL (arXiv 2604.03231).
    """

    def __init__(
        self,
        dim: int = 128,
        images: Sequence[str] = IMAGES,
        image_options: Sequence[dict[str, Any] | None] = OPTIONS,
        runs: Sequence[str | None] = NONE,
        sizes: Sequence[int | None] = NONE,
        layers: Sequence[str | list[int]] = ("all", "calm"),
        frozen: Sequence[bool | None] = NONE,
        width: int = 128,
        heads: int = 4,
        radius: float | None = 0.25,
        rope: bool = True,
        pool: bool = True,
        orthogonal: bool = True,
        per_layer: bool = False,
        text_width: int = 128,
        text_layers: int = 2,
        text_heads: int = 4,
        vocabulary: int = 2000,
        max_tokens: int = 32,
    ) -> None:
        _two(images=images, image_options=image_options, runs=runs, sizes=sizes, layers=layers, frozen=frozen)
        views: list[Views | None] = []
        members = []
        for name, options, run, size, still in zip(images, image_options, runs, sizes, frozen):
            encoder, seen = from_run(run) if run else (borrow(name)(**(options or {})), None)
            members.append(Member(encoder, size, bool(run) if still is None else still))
            views.append(seen)
        first, second = (member.stack for member in members)
        fusion = Fusion(first, second, width, heads, radius, rope, pool, orthogonal, per_layer)
        text = TextTransformer(text_width, text_layers, text_heads, vocabulary, max_tokens)
        super().__init__(FusedImages(members, fusion), text, dim)
        self._calm = [seen if _calm(chosen) else None for chosen, seen in zip(layers, views)]
        for number, chosen in enumerate(layers):
            if not isinstance(chosen, str):
                fusion.mixer(number).choose(chosen)

    @classmethod
    def blank(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The same towers without weights from elsewhere: a run gives way to what its encoder is made of."""
        images, options = [*arguments.get("images", IMAGES)], [*arguments.get("image_options", OPTIONS)]
        frozen = [*arguments.get("frozen", NONE)]
        for number, run in enumerate(arguments.get("runs", NONE)):
            if run:
                images[number], options[number] = described(run)
                frozen[number] = True if frozen[number] is None else frozen[number]
        options = [borrow(name).blank(one or {}) for name, one in zip(images, options)]
        return {**arguments, "images": images, "image_options": options, "runs": [*NONE], "frozen": frozen}

    @property
    def image(self) -> FusedImages:
        """The image tower, without its head."""
        found: Any = self.towers["image"]
        tower: FusedImages = found
        return tower

    def prepare(self, dataset: Dataset) -> None:
        """Learn the tokenizer from the training captions, and find the calm layers by training pictures."""
        super().prepare(dataset)
        for number, views in enumerate(self._calm):
            if views is not None:
                member: Any = self.image.members[number]
                self.image.fusion.mixer(number).choose(member.calm(views, dataset))

    def layers(self, view: View) -> list[Tensor]:
        """Of texts, tokens after each block; of images, the first encoder's layers ``(B, N, F)``, then the fused."""
        if view.modality == "text":
            return self.text.layers(view)
        stacks, grids = self.image.stacks(view)
        fused: Tensor = self.image.fusion(*stacks, grids)
        return [*stacks[0].unbind(1), fused]


def _two(**settings: Sequence[Any]) -> None:
    for name, values in settings.items():
        if isinstance(values, str) or len(values) != 2:
            found = repr(values) if isinstance(values, str) else f"{len(values)} values"
            raise ConfigError(message(name, found, "two, one for each image encoder"))


def _calm(layers: str | list[int]) -> bool:
    if isinstance(layers, str) and layers not in ("all", "calm"):
        raise ConfigError(message("layers", repr(layers), '"all", "calm", or a list of numbers'))
    return layers == "calm"
