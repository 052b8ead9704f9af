"""Prompts of classes: the embedded words around the learnt context, and their encoding, some at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from counterpoint.errors import ConfigError, message


class ClassPrompts:
    """``[SOT] context name . [EOT]`` for each class, with everything but the context embedded once.

    A class costs no parameter: other names may be given at any time, and the embeddings of the old ones do not change.

    Args:
        encoder: frozen text tower: ``tokenize(texts) -> ids, mask``, ``token_embedding(ids)`` and
            ``encode_text_embeds(embeds, mask) -> (B, D)``.
        names: of the classes; underscores are read as spaces.
        context: phrase before the name; its tokens are what a learner replaces.
        chunk: prompts through the text tower at once. Where there are more, the backward pass computes them again, so
            that memory stays that of one chunk.

    Raises:
        ConfigError: names that are missing, blank or doubled; a phrase that is blank or merges with the name after it.
    """

    def __init__(self, encoder: Any, names: Sequence[str], context: str, chunk: int = 512) -> None:
        self.names = _checked(names)
        self.encoder, self.chunk = encoder, chunk
        context = " ".join(context.split())
        ids, self.mask = encoder.tokenize([f"{context} {name}." for name in self.names])
        self.place = _place(encoder, context, ids)
        with torch.no_grad():
            self.embeds: Tensor = encoder.token_embedding(ids).float()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def start(self) -> Tensor:
        """``(M, W)`` embedded tokens of the phrase itself."""
        return self.embeds[0, self.place]

    def encode(self, context: Tensor) -> Tensor:
        """Contexts ``(R, M, W)`` -> embeddings ``(R, K, D)`` of length 1 of all K classes under each."""
        total = context.shape[0] * len(self)
        pieces = [torch.arange(at, min(at + self.chunk, total)) for at in range(0, total, self.chunk)]
        again = len(pieces) > 1 and torch.is_grad_enabled() and context.requires_grad
        found = [
            checkpoint(self._piece, context, rows, use_reentrant=False) if again else self._piece(context, rows)
            for rows in pieces
        ]
        return torch.cat(found).view(context.shape[0], len(self), -1)

    def _piece(self, context: Tensor, rows: Tensor) -> Tensor:
        rows = rows.to(context.device)
        which, name = rows // len(self), rows % len(self)
        words = self.embeds[name]
        embeds = torch.cat([words[:, : self.place.start], context[which], words[:, self.place.stop :]], dim=1)
        encoded: Tensor = self.encoder.encode_text_embeds(embeds, self.mask[name])
        return F.normalize(encoded.float(), dim=1)


def _checked(names: Sequence[str]) -> list[str]:
    cleaned = [" ".join(str(name).replace("_", " ").split()) for name in names]
    if len(cleaned) < 2:
        raise ConfigError(message("classes", f"{len(cleaned)} names", "two or more"))
    blank = [number for number, name in enumerate(cleaned) if not name]
    if blank:
        raise ConfigError(message("classes", f"a blank name at position {blank[0]}", "words for each class"))
    doubled = sorted({name for name in cleaned if cleaned.count(name) > 1})
    if doubled:
        raise ConfigError(message("classes", f"{doubled[0]!r} twice", "a name of its own for each class"))
    return cleaned


def _place(encoder: Any, context: str, ids: Tensor) -> slice:
    """Where the phrase's tokens stand in every row of ``ids``.

    Families differ in what stands around a text ([SOT] or nothing, [EOT], padding): the empty text shows it.
    """
    empty, alone = encoder.tokenize(["", context])[0].tolist()
    start = int(empty[0] == alone[0])
    ends = (at for at in range(start, len(alone)) if alone[at:] == empty[start : start + len(alone) - at])
    place = slice(start, next(ends, len(alone) - 1))
    if place.stop == place.start:
        raise ConfigError(message("context", repr(context), 'a phrase before the name, such as "a photo of a"'))
    phrase, follows = torch.tensor(alone[place], device=ids.device), alone[place.stop]
    if not bool((ids[:, place] == phrase).all() and (ids[:, place.stop] != follows).all()):
        found = f"{context!r}, whose tokens change or do not fit before a class's name"
        raise ConfigError(message("context", found, "a short phrase of whole words"))
    return place
