"""Checks of views, on the first batch of the plugin's first dataset."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.nn import rows
from counterpoint.parts import Views
from counterpoint.testing.compare import difference, tensors
from counterpoint.testing.registry import check, require, wrong
from counterpoint.testing.session import ROWS, Session
from counterpoint.types import Batch, View

DATA = ("datasets/batches",)


def made(session: Session, name: str, batch: Batch, seed: int = 0) -> list[View]:
    """Views of ``batch`` under ``seed``, by a new instance."""
    return session.views(name)(batch, torch.Generator().manual_seed(seed))


@check("views")
def loads(session: Session, name: str) -> None:
    """The target can be imported, is a `Views`, and its modalities are the plugin's."""
    part = session.plugin.views[name]
    cls = part.load()
    require(isinstance(cls, type) and issubclass(cls, Views), part.target, repr(cls), "a subclass of Views")
    own = tuple(getattr(cls, "modalities", ()))
    known = session.plugin.modalities
    require(own and set(own) <= set(known), "modalities", list(own), f"some of {list(known)}, as the plugin says")


@check("views", after=("views/loads", *DATA))
def shapes(session: Session, name: str) -> str:
    """Two views or more, global ones first, each with the batch's rows, a known modality and finite floats."""
    batch = session.batch()
    views = made(session, name, batch)
    require(len(views) >= 2, "views", len(views), "at least 2")
    roles = [view.role for view in views]
    require(
        set(roles) <= {"global", "local"} and roles == sorted(roles), "roles", roles, "global ones, then local ones"
    )
    for number, view in enumerate(views):
        own = session.views(name).modalities
        require(view.modality in own, f"views[{number}].modality", repr(view.modality), f"one of {list(own)}")
        found = rows.count(view.data)
        require(found in (None, len(batch)), f"views[{number}]", f"{found} rows", f"{len(batch)}, as in the batch")
        for tensor in tensors(view.data):
            require(_finite(tensor), f"views[{number}]", "values that are not finite", "finite values")
    return f"{len(views)} views"


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


@check("views", after=("views/shapes",))
def seeded(session: Session, name: str) -> None:
    """The same generator gives the same views, bit by bit: from this instance again, and from another."""
    views = session.views(name)
    first = views(session.batch(), torch.Generator().manual_seed(0))
    again = views(session.batch(), torch.Generator().manual_seed(0))
    todo = "Draw everything from `generator`, and keep nothing between calls: or a resumed run sees other views."
    for told, other in (("again", again), ("from another instance", made(session, name, session.batch()))):
        where = difference(first, other)
        require(not where, f"views under one seed, {told}", where, "the same views", todo)


@check("views", after=("views/seeded",))
def random(session: Session, name: str) -> None:
    """Another seed gives other views."""
    first, other = (made(session, name, session.batch(), seed) for seed in (0, 1))
    require(difference(first, other), "views under two seeds", "the same", "other views")


@check("views", after=("views/seeded",))
def differ(session: Session, name: str) -> None:
    """The views of a sample are not copies of each other: nothing could be learnt from them."""
    views = made(session, name, session.batch())
    same = all(v.modality == views[0].modality and not difference(v.data, views[0].data) for v in views[1:])
    require(not same, "views", "all the same", "views that differ")


@check("views", after=("views/seeded",))
def sizes(session: Session, name: str) -> None:
    """A batch of one and an uneven last batch give as many rows as they have samples."""
    for size in (1, ROWS - 3):
        for number, view in enumerate(made(session, name, session.batch(size))):
            found = rows.count(view.data)
            require(found in (None, size), f"views[{number}] of a batch of {size}", f"{found} rows", size)


@check("views", after=("views/shapes",))
def plain(session: Session, name: str) -> None:
    """``plain`` gives one view a modality, the same each time; a sample's does not depend on the batch around it."""
    views, batch = session.views(name), session.batch()
    first = views.plain(batch)
    found = [view.modality for view in first]
    require(first and len(set(found)) == len(found), "modalities of plain", found, "one view a modality")
    where = difference(first, views.plain(batch))
    require(not where, "plain, again", where, "the same views")
    for number in range(min(3, len(batch))):
        alone = views.plain(session.dataset.batch([int(batch.index[number])]))
        for one, all_ in zip(alone, first):
            if isinstance(all_.data, Tensor):
                where = difference(one.data[0], all_.data[number], close=True)
                require(not where, f"plain view of sample {number} alone", where, "its row of the batch's view")


@check("views", after=("views/shapes",))
def untouched(session: Session, name: str) -> None:
    """The batch is as it was: views are copies."""
    batch = session.batch()
    before = copy.deepcopy(batch)
    made(session, name, batch)
    session.views(name).plain(batch)
    where = difference(batch, before)
    require(not where, "the batch, after its views were made", where, "the batch as it was")


@check("views", after=("views/shapes",))
def device(session: Session, name: str) -> str:
    """Views are where the batch is."""
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = session.batch().to(place)
    for number, view in enumerate([*made(session, name, batch), *session.views(name).plain(batch)]):
        for tensor in tensors(view.data):
            require(tensor.device.type == place.type, f"views[{number}]", tensor.device, f"{place}, as the batch")
    return f"on {place.type}" + ("" if place.type == "cuda" else ": no GPU here")


@check("views", after=("views/shapes", "datasets/empty"))
def errors(session: Session, name: str) -> str:
    """A batch of no rows gives views of no rows or an error of `counterpoint.errors` that names the modality."""
    views = session.views(name)
    nothing = session.dataset.batch([])
    nothing.data = {}
    for told, make in (("views", partial(views, generator=torch.Generator())), ("plain", views.plain)):
        try:
            found = make(nothing)
        except CounterpointError as error:
            named = any(modality in str(error) for modality in views.modalities)
            require(named, f"{told} of an empty batch", f"{error}", f"a text that names {list(views.modalities)}")
        except Exception as error:
            wrong(f"{told} of an empty batch", f"{type(error).__name__}: {error}", "an error of counterpoint.errors")
        else:
            full = [view for view in found if rows.count(view.data)]
            require(not full, f"{told} of an empty batch", f"{len(full)} views with rows", "views of no rows")
    return "an empty batch"
