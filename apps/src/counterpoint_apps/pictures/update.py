"""``index``: bring an index up to date with its source, in memory that does not grow with a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from counterpoint.errors import DataError, Interrupted, message
from counterpoint.training.tables import bar
from counterpoint_apps.pictures.encoder import PictureEncoder
from counterpoint_apps.pictures.index import DAMAGED, Damage, PictureIndex, erase, exists, locked
from counterpoint_apps.pictures.sources import Source
from counterpoint_apps.store import EXACT_BELOW, Ledger

CHUNK = 512  # pictures between two commits: at most these are embedded again after a kill
SHOWN = 10


@dataclass(frozen=True, slots=True)
class File:
    """A picture as its source shows it."""

    path: str
    size: int
    mtime_ns: int
    known: bool  # there is an item of this path in the index, though of another state


@dataclass(slots=True)
class Counts:
    """What one update did."""

    new: int = 0
    changed: int = 0
    touched: int = 0
    unchanged: int = 0
    removed: int = 0
    seconds: float = 0.0
    damaged: dict[str, Damage] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)


def update(
    source: Source,
    encoder: PictureEncoder,
    path: Path,
    *,
    rebuild: bool = False,
    workers: int = 0,
    exact_below: int = EXACT_BELOW,
) -> Counts:
    """Make the index at ``path``, or bring it up to date: embed what is new or changed, forget what is gone.

    Args:
        source: the pictures.
        encoder: of the pictures.
        path: directory of the index.
        rebuild: start from nothing.
        workers: reading processes.
        exact_below: pictures up to which searches are exact.

    Raises:
        DataError: no picture at all; an index that is damaged, locked, of another source or made by another encoder;
            a full disk.
        Interrupted: Ctrl-C; what is embedded is kept.
    """
    console = Console(stderr=True)
    with locked(path):
        if rebuild:
            erase(path)
        fresh = not exists(path)
        index = PictureIndex.create(path, source, encoder) if fresh else PictureIndex(path)
        _check_index(index, source, encoder)
        try:
            return _Update(source, encoder, index, console, workers).run(exact_below)
        except KeyboardInterrupt:
            kept = f"{len(index.store):,} pictures are in {path}"
            raise Interrupted(f"Stopped; {kept}. The same command goes on from there.") from None


class _Update:
    """One update under way."""

    def __init__(
        self, source: Source, encoder: PictureEncoder, index: PictureIndex, console: Console, workers: int
    ) -> None:
        self.source, self.encoder, self.index, self.console, self.workers = source, encoder, index, console, workers
        self.ledger = Ledger(index.store, ("size", "mtime_ns"))
        self.known_damage = index.damaged
        self.counts = Counts()

    def run(self, exact_below: int) -> Counts:
        todo = self._survey()
        start = time.perf_counter()
        with bar(self.console) as progress:
            work = progress.add_task("embedding", total=todo)
            for chunk in _chunks(self._files(), CHUNK * max(1, self.workers)):
                self._take(chunk, lambda n: progress.update(work, advance=n))
        self.counts.seconds = time.perf_counter() - start
        self._forget()
        if self.counts.damaged != self.known_damage:
            self.index.damaged = self.counts.damaged
        self.index.store.tidy(exact_below)
        return self.counts

    def _survey(self) -> int:
        """Count what is to do, so that the progress bar knows the time left; marks in the ledger what is there."""
        looking = self.console.status(f"looking through {escape(str(self.source))}")
        with looking if self.console.is_terminal else nullcontext():
            todo = sum(1 for _ in self._files(survey=True))
        if not todo + self.counts.unchanged + len(self.counts.damaged):
            kept = f" The {len(self.ledger):,} pictures in the index are kept." if len(self.ledger) else ""
            raise DataError(self.source.nothing + kept)
        return todo

    def _files(self, survey: bool = False) -> Iterator[File]:
        """What has to be read: new or changed files. Only the survey counts the others."""

        def unreadable(folder: str) -> None:
            if survey:
                self.counts.unreadable.append(folder)

        def bad(path: str, reason: str) -> None:
            if survey:
                self.counts.damaged[path] = (0, 0, reason)

        for path, facts in self.source.list(unreadable, bad):
            if path in self.known_damage and self.known_damage[path][:2] == facts:
                if survey:
                    self.counts.damaged[path] = self.known_damage[path]
                continue
            same = self.ledger.meet(path, facts)
            if same:
                self.counts.unchanged += survey
            else:
                yield File(path, *facts, known=same is not None)

    def _take(self, files: list[File], tick: Callable[[int], None]) -> None:
        """Embed a chunk and commit it."""
        left = self._touched(files)
        tick(len(files) - len(left))
        if not left:
            return
        dataset = self.source.dataset([file.path for file in left], self.encoder.max_side)
        found = self.encoder.embed(dataset, workers=self.workers, tick=tick)
        good = [left[i] for i in found.index.tolist()]
        if good:
            facts = {"size": [f.size for f in good], "mtime_ns": [f.mtime_ns for f in good]}
            facts["content"] = found.content.tolist()
            keys = [f.path for f in good]
            self.index.store.put(keys, found.features.numpy(), facts, self.source.captions(keys))
        self.counts.changed += sum(file.known for file in good)
        self.counts.new += sum(not file.known for file in good)
        self._note([(left[one.index], one.reason) for one in found.damaged])

    def _touched(self, files: list[File]) -> list[File]:
        """Of files whose time changed but not their content, note the new time; the others are left to do."""
        known = [file for file in files if file.known]
        facts = self.index.store.facts_of([file.path for file in known])
        same = [file for file in known if self.source.content(file.path) == facts[file.path]["content"]]
        if same:
            keys = [file.path for file in same]
            vectors = self.index.store.vectors_of(keys)
            new = {"size": [f.size for f in same], "mtime_ns": [f.mtime_ns for f in same]}
            new["content"] = [facts[key]["content"] for key in keys]
            self.index.store.put(keys, np.stack([vectors[key] for key in keys]), new, self.source.captions(keys))
            self.counts.touched += len(same)
        done = {file.path for file in same}
        return [file for file in files if file.path not in done]

    def _note(self, damaged: list[tuple[File, str]]) -> None:
        """List files that are no readable pictures, and forget the pictures that they were."""
        if not damaged:
            return
        self.counts.damaged |= {file.path: (file.size, file.mtime_ns, reason) for file, reason in damaged}
        gone = [file.path for file, _ in damaged if file.known]
        self.index.store.remove(gone)
        self.index.damaged = {**self.known_damage, **self.counts.damaged}

    def _forget(self) -> None:
        """Remove what was not met, unless it lies where could not be looked now."""
        if not self.ledger.missing:
            return
        hidden = tuple(self.counts.unreadable)
        gone = [
            key
            for keys, _, _ in self.index.store.read()
            for key in keys
            if self.ledger.lost(key) and not key.startswith(hidden)
        ]
        self.index.store.remove(gone)
        self.counts.removed = len(gone)


def _chunks(files: Iterable[File], size: int) -> Iterator[list[File]]:
    chunk: list[File] = []
    for file in files:
        chunk.append(file)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _check_index(index: PictureIndex, source: Source, encoder: PictureEncoder) -> None:
    encoder.check(index.origin)
    if index.described != source.described:
        before = ", ".join(f"{name} {value}" for name, value in index.described.items() if value)
        todo = f"Choose another --index for {source}, or start this one anew with --rebuild."
        raise DataError(message("index", f"{index.path}, which is of {before}", f"one of {source}", todo))


def told(counts: Counts, index: PictureIndex) -> list[str]:
    """What an update did, in lines."""
    embedded = counts.new + counts.changed
    names = ("new", "changed", "touched", "unchanged", "removed")
    parts = [
        f"{getattr(counts, name):,} {name}" for name in names if getattr(counts, name) or name in ("new", "unchanged")
    ]
    lines = [", ".join([*parts, f"{len(counts.damaged):,} damaged"]) + "."]
    if embedded:
        rate = embedded / max(counts.seconds, 1e-9)
        lines.append(f"{embedded:,} pictures embedded in {counts.seconds:.1f} s: {rate:,.0f} images/s.")
    for path, (_, _, reason) in list(counts.damaged.items())[:SHOWN]:
        lines.append(f"  damaged: {path}: {reason}")
    if len(counts.damaged) > SHOWN:
        lines.append(f"  … and {len(counts.damaged) - SHOWN:,} more, all listed in {index.path / DAMAGED}")
    hidden = counts.unreadable[:SHOWN]
    lines += [f"  folder that cannot be read: {name} (what the index has of it is kept)" for name in hidden]
    if len(counts.unreadable) > SHOWN:
        lines.append(f"  … and {len(counts.unreadable) - SHOWN:,} more folders")
    return [*lines, f"Index: {index.path}, {index.how()}."]


def update_and_tell(source: Source, encoder: PictureEncoder, path: Path, **options: Any) -> None:
    """`update` at the shell: what it did is printed."""
    counts = update(source, encoder, path, **options)
    print("\n".join(told(counts, PictureIndex(path))))
