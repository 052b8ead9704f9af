"""The encoders of image search: of a run of the vision plugin, or a network of timm with weights from a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from counterpoint.errors import ConfigError, message
from counterpoint.run import Run
from counterpoint_apps.pictures.encoder import Origin, PictureEncoder, digest
from counterpoint_apps.pictures.index import PictureIndex
from counterpoint_apps.pictures.searches import Searches
from counterpoint_apps.pictures.sources import Folder
from counterpoint_vision.encoders import Timm
from counterpoint_vision.views import SimCLRViews
from counterpoint_vision.views.base import ImageViews


class ImageEncoder(PictureEncoder):
    """An image encoder with the views that prepare its pictures."""

    @classmethod
    def check_run(cls, run: Run) -> None:
        """See `PictureEncoder.check_run`."""
        if not isinstance(run.views, ImageViews):
            raise ConfigError(message("run", f"{run.path}, of plugin {run.plugin.name}", "a run of the vision plugin"))

    @classmethod
    def of_timm(cls, name: str, weights: Path) -> ImageEncoder:
        """A timm network with the normalisation and the size that its weights were trained with.

        Raises:
            ConfigError: an unknown name.
            DataError: weights that are missing, unreadable or of another network.
        """
        encoder = Timm(name, weights=str(weights))
        size = int(encoder.model.pretrained_cfg.get("input_size", (3, 224, 224))[-1])
        views = SimCLRViews(size=size, mean=encoder.mean, std=encoder.std)  # type: ignore[arg-type]
        mark = digest(weights.expanduser(), text=f"{name} {size} {encoder.mean} {encoder.std}")
        origin = Origin(timm=name, weights=str(weights.expanduser().resolve()), fingerprint=mark)
        return cls(encoder.eval().requires_grad_(False), views, origin)

    @classmethod
    def of(cls, origin: Origin) -> ImageEncoder:
        """See `PictureEncoder.of`."""
        return cls.of_timm(origin.timm, Path(origin.weights)) if origin.timm else super().of(origin)


def open_index(path: Path, run: Path | None = None) -> Searches[ImageEncoder]:
    """Searches in the index at ``path``; ``run`` says where its run lies now.

    Raises:
        DataError: no index, a damaged one, or its encoder is gone or another.
    """
    index = PictureIndex(path)
    return Searches(index, partial(Folder.of, index.described), ImageEncoder.that_made(index.origin, run))
