"""Checks of an encoder, on the plain views of the plugin's first views (another modality's tower on its own view)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.parts import Encoder
from counterpoint.testing.compare import difference, tensors
from counterpoint.testing.registry import check, require, wrong
from counterpoint.testing.session import ROWS, Session
from counterpoint.training.encoder_files import load_weights, save_weights
from counterpoint.types import Encoding, View

VIEWS = ("views/plain",)


def encode(encoder: Encoder, views: list[View]) -> list[Encoding]:
    """Encodings in eval mode, without gradients, of copies of ``views``."""
    encoder.eval()
    with torch.no_grad():
        return [encoder(copy.deepcopy(view)) for view in views]


@check("encoders")
def loads(session: Session, name: str) -> None:
    """The target can be imported and is an `Encoder`."""
    part = session.plugin.encoders[name]
    cls = part.load()
    require(isinstance(cls, type) and issubclass(cls, Encoder), part.target, repr(cls), "a subclass of Encoder")


@check("encoders", after=("encoders/loads", *VIEWS))
def encodings(session: Session, name: str) -> str:
    """``pooled`` is finite float ``(B, dim)``; tokens are ``(B, N, D')``, their mask bool ``(B, N)``."""
    encoder, views = session.encoder(name), session.inputs()
    for view, found in zip(views, encode(encoder, views)):
        require(isinstance(found, Encoding), "forward", type(found).__name__, "an Encoding")
        width = getattr(encoder, "dims", {}).get(view.modality, encoder.dim)
        pooled, tokens, mask = found.pooled, found.tokens, found.mask
        require(pooled.shape == (ROWS, width), "pooled", tuple(pooled.shape), f"({ROWS}, {width}): rows, dim")
        require(pooled.is_floating_point() and torch.isfinite(pooled).all(), "pooled", pooled.dtype, "finite floats")
        if tokens is not None:
            require(tokens.dim() == 3 and len(tokens) == ROWS, "tokens", tuple(tokens.shape), f"({ROWS}, N, D')")
        if tokens is not None and mask is not None:
            right = mask.dtype == torch.bool and mask.shape == tokens.shape[:2]
            require(right, "mask", f"{mask.dtype} {tuple(mask.shape)}", f"bool {tuple(tokens.shape[:2])}")
    return f"{encoder.dim} dimensions"


@check("encoders", after=("encoders/encodings",))
def capabilities(session: Session, name: str) -> str:
    """What the plugin lists, the encoder declares (its arguments may allow more), and what is declared is there."""
    part, encoder = session.plugin.encoders[name], session.encoder(name)
    declared = encoder.capabilities
    told = ", ".join(sorted(declared)) or "none"
    listed = ", ".join(sorted(part.capabilities))
    require(part.capabilities <= declared, "capabilities that the encoder declares", told, f"{listed}, as listed")
    found = encode(encoder, session.inputs())
    for word in declared & {"tokens", "dense"}:
        require(all(one.tokens is not None for one in found), f"capability {word!r}", "no tokens", "tokens (B, N, D')")
    if "modalities" in declared:
        dims = getattr(encoder, "dims", {})
        require(len(dims) > 1, "capability 'modalities'", f"dims={dims}", "the widths of two modalities or more")
    return ", ".join(sorted(declared)) or "none"


@check("encoders", after=("encoders/encodings",))
def repeats(session: Session, name: str) -> None:
    """In eval mode the same input has the same encoding, bit by bit."""
    encoder, views = session.encoder(name), session.inputs()
    where = difference(encode(encoder, views), encode(encoder, views))
    require(not where, "encoding, again", where, "the same, bit by bit", "Is there chance or state in eval mode?")


@check("encoders", after=("encoders/repeats",))
def alone(session: Session, name: str) -> None:
    """In eval mode a sample's encoding does not depend on the batch: alone, and in an uneven batch."""
    encoder = session.encoder(name)
    whole = encode(encoder, session.inputs())
    for size in (1, ROWS - 3):
        for one, all_ in zip(encode(encoder, session.inputs(size)), whole):
            where = difference(one.pooled, all_.pooled[:size], close=True)
            require(
                not where,
                f"encoding in a batch of {size}",
                where,
                "that of the whole batch",
                "Use eval mode's statistics.",
            )


@check("encoders", after=("encoders/encodings",))
def untouched(session: Session, name: str) -> None:
    """The view is as it was: nothing is done in place."""
    encoder, views = session.encoder(name).eval(), session.inputs()
    before = copy.deepcopy(views)
    with torch.no_grad():
        for view in views:
            encoder(view)
    where = difference(views, before)
    require(not where, "the view, after it was encoded", where, "the view as it was")


@check("encoders", after=("encoders/encodings",))
def gradients(session: Session, name: str) -> None:
    """In training every parameter that wants a gradient gets one, from ``pooled`` or from the tokens."""
    encoder = session.encoder(name).train()
    outputs = [tensor for view in session.inputs() for tensor in tensors(encoder(view)) if tensor.requires_grad]
    require(outputs, "pooled", "no gradient", "a graph to the parameters", "Is there a detach or a no_grad?")
    torch.autograd.backward(torch.stack([tensor.float().square().sum() for tensor in outputs]).sum())
    idle = [key for key, value in encoder.named_parameters() if value.requires_grad and value.grad is None]
    require(not idle, "parameters without a gradient", ", ".join(idle[:5]), "none", "Remove or freeze them.")


@check("encoders", after=("encoders/encodings",))
def seeded(session: Session, name: str) -> None:
    """One seed gives one set of weights."""
    one, two = (session.encoder(name, seed=3).state_dict() for _ in range(2))
    where = difference(one, two)
    require(not where, "weights under one seed", where, "the same weights")


@check("encoders", after=("encoders/repeats", "encoders/device"))
def saves(session: Session, name: str) -> None:
    """Weights go to safetensors and back, strictly, and the encoder from them gives the same encodings."""
    first, views = session.encoder(name, seed=1), session.inputs()
    with torch.no_grad():
        first.train()(session.inputs()[0])  # moves running statistics, which must be saved too
    path = session.folder(f"weights/{name}") / "model.safetensors"
    save_weights(first, path)
    cls = session.plugin.encoders[name].load()
    second: Encoder = cls(**cls.blank(session.arguments("encoders", name)))
    load_weights(second, path)
    where = difference(encode(second, views), encode(first, views))
    todo = "Keep what forward() needs in parameters and buffers, or in the arguments."
    require(not where, "encoding after saving and loading", where, "the same, bit by bit", todo)


@check("encoders", after=("encoders/encodings",))
def device(session: Session, name: str) -> str:
    """It moves as a whole: no tensor stays behind."""
    encoder = session.encoder(name).to("meta")
    left = [
        f"{place}.{key}".lstrip(".") for place, key, value in _plain_tensors(encoder) if value.device.type != "meta"
    ]
    todo = "Use register_buffer (persistent=False for what need not be saved)."
    require(not left, "tensors that do not move with .to()", ", ".join(left), "none", todo)
    if not torch.cuda.is_available():
        return "to meta: no GPU here"
    moved, batch = session.encoder(name).cuda().eval(), session.batch().to("cuda")
    with torch.no_grad():
        for view in session.views().plain(batch):
            found = moved(view).pooled.device
            require(found.type == "cuda", "pooled", found, "where encoder and view are")
    return "to the GPU"


def _plain_tensors(encoder: nn.Module) -> list[tuple[str, str, Tensor]]:
    """Tensors that are plain attributes of a module, so that torch does not know of them; parameters too."""
    return [
        (place, key, value)
        for place, module in encoder.named_modules()
        for key, value in [*vars(module).items(), *module.named_parameters(recurse=False)]
        if isinstance(value, Tensor)
    ]


@check("encoders", after=("encoders/encodings",))
def errors(session: Session, name: str) -> None:
    """A view without data is refused by an error of `counterpoint.errors` that names ``view.data``."""
    encoder, modality = session.encoder(name).eval(), session.inputs()[0].modality
    try:
        encoder(View(None, modality))
    except CounterpointError as error:
        require("view.data" in str(error), "the error's text", f"{error}", "a text that names view.data")
        return
    except Exception as error:
        todo = "Check it first: raise ShapeError(message('view.data', found, allowed))."
        wrong("view.data=None", f"{type(error).__name__}: {error}", "an error of counterpoint.errors", todo)
    wrong("view.data=None", "no error", "a ShapeError that names view.data")
