"""Checks of a dataset, on its example data."""

from __future__ import annotations

import re
from itertools import pairwise
from multiprocessing.reduction import ForkingPickler

import numpy as np
import torch

from counterpoint.errors import CounterpointError
from counterpoint.parts import SPLITS, Dataset
from counterpoint.testing.compare import difference
from counterpoint.testing.registry import check, require, wrong
from counterpoint.testing.session import MANY, Session
from counterpoint.training.data import loader
from counterpoint.types import Damaged, Sample

NONSENSE = "no-such-source-of-anything"


def another(session: Session, name: str) -> Dataset:
    """A new instance on the part's example."""
    dataset: Dataset = session.build("datasets", name)
    return dataset


def some(dataset: Dataset) -> list[int]:
    """Up to `MANY` indices, spread over the dataset."""
    return sorted({int(i) for i in np.linspace(0, len(dataset) - 1, min(MANY, len(dataset)))})


@check("datasets")
def loads(session: Session, name: str) -> None:
    """The target can be imported and is a `Dataset`."""
    part = session.plugin.datasets[name]
    cls = part.load()
    require(isinstance(cls, type) and issubclass(cls, Dataset), part.target, repr(cls), "a subclass of Dataset")


@check("datasets", after=("datasets/loads",))
def opens(session: Session, name: str) -> str:
    """It is built with its example, holds samples, and accepts that source and no nonsense."""
    dataset, source = session.opened(name), session.arguments("datasets", name).get("source")
    require(isinstance(source, str), "example", f"source={source!r}", "a path or a name", "Part(..., example=...)")
    require(len(dataset) > 0, "len", len(dataset), "at least 1")
    require(type(dataset).accepts(str(source)), f"accepts({source!r})", "False", "True for its own source")
    require(not type(dataset).accepts(NONSENSE), f"accepts({NONSENSE!r})", "True", "False for what it cannot open")
    return f"{len(dataset)} samples"


@check("datasets", after=("datasets/opens",))
def samples(session: Session, name: str) -> None:
    """Samples carry their index, the plugin's modalities as tensors, and the label that ``labels`` has."""
    dataset, known = session.opened(name), set(session.plugin.modalities)
    sound = 0
    for index in some(dataset):
        sample = dataset[index]
        require(isinstance(sample, (Sample, Damaged)), f"[{index}]", type(sample).__name__, "a Sample or Damaged")
        require(sample.index == index, f"[{index}].index", sample.index, index)
        if isinstance(sample, Damaged):
            continue
        sound += 1
        require(sample.data and set(sample.data) <= known, f"[{index}].data", sorted(sample.data), sorted(known))
        for modality, value in sample.data.items():
            require(
                torch.as_tensor(value).numel() > 0, f"[{index}].data[{modality!r}]", "nothing", "a tensor of values"
            )
    require(sound, "samples", "only damaged ones", "at least one that can be read")


@check("datasets", after=("datasets/samples",))
def labels(session: Session, name: str) -> str:
    """``labels`` is None or int64 ``(N,)`` in the range of ``classes``, and every sample's label is the one in it."""
    dataset = session.opened(name)
    table = dataset.labels
    sound = [sample for index in some(dataset) if isinstance(sample := dataset[index], Sample)]
    if table is None:
        told = [sample.index for sample in sound if sample.label is not None]
        require(not told, "labels", f"None, but sample {told[:1]} has a label", "labels for all samples or for none")
        return "without labels"
    require(
        table.dtype == np.int64 and table.shape == (len(dataset),),
        "labels",
        f"{table.dtype} {table.shape}",
        "int64 (N,)",
    )
    count = len(dataset.classes) if dataset.classes is not None else int(table.max()) + 1
    require(
        table.min() >= -1 and table.max() < count, "labels", f"{table.min()} to {table.max()}", f"-1 to {count - 1}"
    )
    for sample in sound:
        label = -1 if sample.label is None else sample.label
        require(label == table[sample.index], f"[{sample.index}].label", label, f"{table[sample.index]}, as in labels")
    return f"{count} classes"


@check("datasets", after=("datasets/samples",))
def repeats(session: Session, name: str) -> None:
    """The same index gives the same sample: again, and from another instance."""
    one, two = session.opened(name), another(session, name)
    for index in some(one):
        first = one[index]
        for told, second in (("again", one[index]), ("from another instance", two[index])):
            where = difference(first, second)
            require(not where, f"[{index}] {told}", where, "the same sample")


@check("datasets", after=("datasets/repeats",))
def content(session: Session, name: str) -> None:
    """Content ids are whole numbers from 0 to 2**63 - 1, and not all samples have the same one."""
    dataset = session.opened(name)
    ids = [sample.content for index in some(dataset) if isinstance(sample := dataset[index], Sample)]
    for number in ids:
        require(
            isinstance(number, int) and 0 <= number < 2**63, "content", repr(number), "0 to 2**63 - 1", "content_id()"
        )
    same = len(ids) > 1 and len(set(ids)) == 1 and ids[0] != 0
    require(
        not same, "content", f"{ids[:1]} for all samples", "an id of each one's content", "They would be duplicates."
    )


@check("datasets", after=("datasets/opens",))
def names(session: Session, name: str) -> None:
    """Every sample has a name of its own."""
    dataset = session.opened(name)
    called = [dataset.name(index) for index in range(len(dataset))]
    require(all(isinstance(one, str) and one for one in called), "name", "something that is no text", "text")
    twice = next((a for a, b in pairwise(sorted(called)) if a == b), None)
    require(twice is None, "name", f"{twice!r} twice", "a name for each sample")


@check("datasets", after=("datasets/opens",))
def digest(session: Session, name: str) -> None:
    """``digest()`` is a hex string, the same for the same data."""
    one, two = session.opened(name).digest(), another(session, name).digest()
    require(re.fullmatch(r"[0-9a-f]{8,}", one), "digest", repr(one), "8 hex digits or more")
    require(one == two, "digest of the same data", f"{one} and {two}", "one digest")


@check("datasets", after=("datasets/names",))
def splits(session: Session, name: str) -> str:
    """train, val and test are disjoint, together everything, the same each time; train is not empty."""
    dataset = session.opened(name)
    parts = dataset.splits()
    require(tuple(parts) == SPLITS, "splits", list(parts), list(SPLITS))
    joined = np.concatenate(list(parts.values()))
    whole = len(joined) == len(dataset) and np.array_equal(np.sort(joined), np.arange(len(dataset)))
    require(whole, "splits", f"{len(joined)} indices", f"each of {len(dataset)} samples in exactly one")
    require(len(parts["train"]) > 1, "train", f"{len(parts['train'])} samples", "at least 2")
    where = difference(parts, another(session, name).splits())
    require(not where, "splits of another instance", where, "the same splits")
    return ", ".join(f"{len(indices)} {split}" for split, indices in parts.items())


@check("datasets", after=("datasets/repeats", "datasets/splits"))
def batches(session: Session, name: str) -> None:
    """A batch of many, of an uneven few, and of one: rows in the order asked for, equal to the samples."""
    dataset = session.opened(name)
    sound = [index for index in some(dataset) if isinstance(dataset[index], Sample)]
    for size in (len(sound), min(3, len(sound)), 1):
        chosen = sound[::-1][:size]
        batch, wanted = dataset.batch(chosen), dataset.collate([dataset[i] for i in chosen])
        require(batch.index.tolist() == chosen, f"batch of {size}: index", batch.index.tolist()[:5], chosen[:5])
        for field in ("data", "content", "label", "target"):
            where = difference(getattr(batch, field), getattr(wanted, field))
            require(not where, f"batch of {size}: {field}", where, "what the samples have")


@check("datasets", after=("datasets/batches",))
def empty(session: Session, name: str) -> None:
    """No indices give a batch of no rows."""
    batch = session.opened(name).batch([])
    require(len(batch) == 0, "batch([])", f"{len(batch)} rows", "0 rows")


@check("datasets", after=("datasets/batches",))
def workers(session: Session, name: str) -> str:
    """It can be sent to a reading process, and reads the same there."""
    dataset = session.opened(name)
    try:
        sent = ForkingPickler.loads(ForkingPickler.dumps(dataset))
    except Exception as error:
        todo = "Open files when a sample is read; keep no open file, lock or lambda as an attribute."
        wrong("sending it to a reading process", f"{type(error).__name__}: {error}", "what can be pickled", todo)
    chosen = [index for index in some(dataset) if isinstance(dataset[index], Sample)][:4]
    wanted = dataset.batch(chosen)
    for told, found in (
        ("sent", sent.batch(chosen)),
        ("read", next(iter(loader(dataset, [chosen], workers=1, fill=True)))),
    ):
        where = difference(found.data, wanted.data)
        require(not where, f"batch {told} by another process", where, "the same batch")
    return "pickled, and read by a process"


@check("datasets", after=("datasets/opens",))
def errors(session: Session, name: str) -> None:
    """A source that it cannot open is refused by an error of `counterpoint.errors` that names it."""
    cls = session.plugin.datasets[name].load()
    try:
        cls(**{**session.arguments("datasets", name), "source": NONSENSE})
    except CounterpointError as error:
        require(NONSENSE in str(error), "the error's text", f"{error}", f"a text that names {NONSENSE!r}")
        return
    except Exception as error:
        wrong(f"source={NONSENSE!r}", f"{type(error).__name__}: {error}", "an error of counterpoint.errors")
    wrong(f"source={NONSENSE!r}", "no error", "a DataError that names it")
