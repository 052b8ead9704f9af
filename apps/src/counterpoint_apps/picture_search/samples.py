"""Tables, archives and data sets as the source of an index; and folders, with what their files' names say."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.parts import Dataset, content_id
from counterpoint.run import Run
from counterpoint.training.sources import dataset_class
from counterpoint.types import Damaged, Sample
from counterpoint_apps.pictures.answers import BETWEEN
from counterpoint_apps.pictures.sources import Folder, Source, State, media_type
from counterpoint_apps.shell import tell
from counterpoint_multimodal.data.captions import clean
from counterpoint_multimodal.data.files import PairFiles
from counterpoint_multimodal.data.folder import words
from counterpoint_multimodal.data.pairs import Pairs
from counterpoint_vision.data.files import ImageFiles

CAPTIONS = 3
"""Captions of a picture that are shown."""


class CaptionedFolder(Folder):
    """A folder whose files' names, or text files beside them, say what they show."""

    def captions(self, keys: Sequence[str]) -> Sequence[str]:
        """See `Source.captions`."""
        return [self._caption(PurePosixPath(key)) for key in keys]

    def _caption(self, key: PurePosixPath) -> str:
        try:
            with (self.root / key.with_suffix(".txt")).open(encoding="utf-8-sig", errors="replace") as beside:
                lines = [clean(line) for line in beside]
        except OSError:
            lines = []
        return _joined([line for line in lines if line] or [words(key.stem)])


class Samples(Source):
    """The pictures of a dataset by the names of its samples.

    Where they are files, a file's size and time tell whether it changed; elsewhere the digest of the whole data set
    does, and what changed is then read again, and embedded again where its pixels are others.

    Args:
        dataset: pictures with captions.
        described: where it came from, see `open_source`.
    """

    def __init__(self, dataset: Dataset, described: Mapping[str, Any]) -> None:
        assert isinstance(dataset, Pairs)  # as every dataset of the plugin is
        self.pairs, self._described = dataset, dict(described)
        self._places = {dataset.name(i): i for i in range(len(dataset))}
        self._root = dataset.root if isinstance(dataset, PairFiles) else None
        self._digest = 0 if self._root is not None else content_id(dataset.digest().encode())
        if dataset.in_memory:
            dataset.picture(0)  # an archive is decoded at the first look: now, not when a page waits for its pictures

    def __str__(self) -> str:
        return str(self._described["data"])

    @property
    def described(self) -> dict[str, Any]:
        """See `Source.described`."""
        return self._described

    @property
    def nothing(self) -> str:
        """See `Source.nothing`."""
        return message("source", f"none of the {len(self.pairs):,} pictures of {self}", "at least one that is there")

    def list(self, unreadable: Callable[[str], None], bad: Callable[[str, str], None]) -> Iterator[tuple[str, State]]:
        """See `Source.list`."""
        for key in self._places:
            try:
                yield key, self._state(key)
            except OSError as error:
                bad(key, error.strerror or str(error))

    def state(self, key: str) -> State | None:
        """See `Source.state`."""
        try:
            return self._state(key) if key in self._places else None
        except OSError:
            return None

    def _state(self, key: str) -> State:
        caption = self._caption(key)
        if self._root is None:
            return self._digest, content_id(caption.encode())
        status = (self._root / key).stat()
        return status.st_size, content_id(f"{status.st_mtime_ns}\0{caption}".encode())

    def content(self, key: str) -> int | None:
        """See `Source.content`."""
        sample = self.dataset([key], 0)[0] if self._root is None else None
        if isinstance(sample, Sample):
            return sample.content
        try:
            return None if self._root is None else content_id((self._root / key).read_bytes())
        except OSError:
            return None

    def dataset(self, keys: Sequence[str], max_side: int) -> Dataset:
        """See `Source.dataset`."""
        if self._root is not None:
            return ImageFiles(self._root, [*keys], None, None, max_side)
        return _Pictures(self.pairs, [self._places[key] for key in keys])

    def raw(self, key: str) -> tuple[bytes, str]:
        """See `Source.raw`; PNG where the picture is no file of its own."""
        try:
            if self._root is not None:
                raw = (self._root / key).read_bytes()
                return raw, media_type(raw)
        except OSError as error:
            raise DataError(message(f"picture {key}", error.strerror, "a file that can be read")) from None
        sample = self.pairs.picture(self._places[key])
        if isinstance(sample, Damaged):
            raise DataError(message(f"picture {key}", sample.reason, "a picture that can be read"))
        out = io.BytesIO()
        Image.fromarray(sample.data["image"].permute(1, 2, 0).numpy()).save(out, "PNG")
        return out.getvalue(), "image/png"

    def captions(self, keys: Sequence[str]) -> Sequence[str]:
        """See `Source.captions`."""
        return [self._caption(key) for key in keys]

    def _caption(self, key: str) -> str:
        return _joined(self.pairs.captions[self._places[key]])


class _Pictures(Dataset):
    """Pictures of some pairs, without their texts; the content is that of the pixels."""

    def __init__(self, pairs: Pairs, places: Sequence[int]) -> None:
        self.pairs, self.places = pairs, places
        self.in_memory = pairs.in_memory

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample | Damaged:
        sample = self.pairs.picture(self.places[index])
        if isinstance(sample, Damaged):
            return Damaged(index, sample.name, sample.reason)
        image = sample.data["image"]
        return Sample(index, {"image": image}, content=content_id(image.numpy().tobytes()))

    def name(self, index: int) -> str:
        return self.pairs.name(self.places[index])

    def digest(self) -> str:
        return self.pairs.digest()


def _joined(captions: Sequence[str]) -> str:
    return BETWEEN.join(captions[:CAPTIONS])


def open_source(run: Run, source: str | None, options: Mapping[str, Any] | None = None) -> Source:
    """What ``index`` was asked to index.

    Args:
        run: whose plugin opens it.
        source: a folder, a table, an archive or a data set's name; None: the run's own data.
        options: of the dataset, e.g. the names of columns.

    Raises:
        ConfigError: nothing that the plugin opens, or an option that this kind of source does not have.
        DataError: it cannot be read.
    """
    name = str(run.config["data"]) if source is None else source
    options = {key: value for key, value in (options or {}).items() if value is not None}
    if Path(name).expanduser().is_dir():
        _no_columns(name, options)
        return CaptionedFolder.checked(Path(name).expanduser())
    return open_samples(run, name, options)


def open_samples(run: Run, name: str, options: Mapping[str, Any], captions: bool = True) -> Samples:
    """The pictures of what a dataset of the plugin opens; a folder is one as well.

    Args:
        run: whose plugin opens it.
        name: a folder, a table, an archive or a data set's name.
        options: of the dataset.
        captions: False leaves captions alone, but for those of the run's own data. Else they are looked for, and where
            there are none the pictures are there without.

    Raises:
        ConfigError: nothing that the plugin opens, or an option that this kind of source does not have.
        DataError: it cannot be read.
    """
    place = Path(name).expanduser()
    if place.is_dir():
        _no_columns(name, options)
    name = str(place.resolve()) if place.exists() else name
    own = not options and name in (run.config["data"], str(Path(run.config["data"]).resolve()))
    described = {"data": name, "own": own, "options": dict(options)}
    if own:
        return Samples(run.open(), described)
    kind: Any = dataset_class(run.plugin, name)
    known = inspect.signature(kind).parameters
    if wrong := options.keys() - known.keys():
        raise ConfigError(message(f"--{min(wrong)}", f"a {kind.__name__}", "a source with columns: a table"))
    if captions or "caption" not in known:
        try:
            return Samples(kind(name, **options), described)
        except DataError:
            if options.get("caption") is not None or "caption" not in known:
                raise
    # What opens in this way only has no captions; what does not open at all is told here.
    without = {**options, "caption": ""}
    made = Samples(kind(name, **without), {**described, "options": without})
    if captions:
        tell(f"{name} has no captions, so that pictures go by their names; --caption COLUMN says where some are.")
    return made


def _no_columns(name: str, options: Mapping[str, Any]) -> None:
    if options:
        raise ConfigError(message(f"--{min(options)}", f"a folder, {name}", "a source with columns: a table"))


def source_of(run: Run, described: Mapping[str, Any]) -> Source:
    """The source of an index, opened again; raises as `open_source`."""
    if "folder" in described:
        return CaptionedFolder.of(described)
    return open_source(run, None if described["own"] else described["data"], described["options"])
