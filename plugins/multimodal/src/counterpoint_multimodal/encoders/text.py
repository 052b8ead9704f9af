"""Text towers: what they share, and a causal transformer that spends no time on padding."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.parts import Dataset, Encoder
from counterpoint.types import Encoding, View
from counterpoint_multimodal.data import captions
from counterpoint_multimodal.encoders.tokenizer import Tokenizer, Tokens, large_enough


class TextEncoder(Encoder):
    """View of captions -> `Encoding`; tokenises inside.

    Args:
        tokenizer: text -> ids.
        dim: width of the features.
    """

    capabilities = frozenset({"tokens"})

    def __init__(self, tokenizer: Tokenizer, dim: int) -> None:
        super().__init__()
        self.tokenizer, self.dim = tokenizer, dim

    def prepare(self, dataset: Dataset) -> None:
        """Learn the tokenizer from the captions of the train split, unless a checkpoint brought one.

        Raises:
            ConfigError: a dataset without captions.
        """
        if self.tokenizer.ready:
            return
        texts: list[list[str]] | None = getattr(dataset, "captions", None)
        if texts is None:
            name = f"{type(self).__name__}: dataset"
            raise ConfigError(message(name, type(dataset).__name__, "pairs, with `captions`"))
        self.tokenizer.learn(text for index in dataset.splits()["train"].tolist() for text in texts[index])

    def forward(self, view: View) -> Encoding:
        """``{"text": (B, L) uint8}`` -> pooled ``(B, dim)``, tokens ``(B, max_tokens, dim)``, mask.

        Of a row with several captions the first is read.
        """
        ids, mask = self.tokenizer(texts(view))
        pooled, tokens = self.encode(self.embed(ids), mask, dropout=view.role == "local")
        rest = self.tokenizer.max_tokens - ids.shape[1]  # one length for all batches, so that chunks can be joined
        return Encoding(pooled, F.pad(tokens, (0, 0, 0, rest)), F.pad(mask, (0, rest)))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids and mask of texts, ``(B, T)`` each."""
        tokens: Tokens = self.tokenizer(texts)
        return tokens

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Ids ``(B, T)`` -> their embeddings ``(B, T, W)``, without positions."""

    @abstractmethod
    def encode(
        self, embeds: Tensor, mask: Tensor, eot: Tensor | None = None, dropout: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Embedded tokens -> features ``(B, dim)`` and tokens ``(B, T, dim)``.

        Args:
            embeds: ``(B, T, W)`` as `embed` gives them, or learnt ones.
            mask: ``(B, T)`` bool, True where a token is real.
            eot: ``(B,)``, the place whose output is the feature; by default the last real one.
            dropout: whether dropout and stochastic depth, if there is any, are active (in training).
        """

    @abstractmethod
    def layers(self, view: View) -> list[Tensor]:
        """Tokens after each block, ``(B, T, W)`` each, without the last norm."""


def texts(view: View) -> list[str]:
    """The first caption of each row of a text view; "" where a row has none.

    Raises:
        ShapeError: the data are not what `captions.encode` makes.
    """
    data: Any = view.data
    rows = data.get("text") if isinstance(data, dict) else None
    if not isinstance(rows, Tensor) or rows.dim() != 2 or rows.dtype != torch.uint8:
        found = f"{rows.dtype} {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(data).__name__
        allowed = "{'text': uint8 tensor (B, L)}"
        raise ShapeError(message("view.data", found, allowed, "Make it by data.captions.encode and pad."))
    return [found[0] if found else "" for found in captions.decode(rows)]


class _Packing:
    """Rows of unequal length as one matrix of their real tokens, and back.

    Args:
        mask: ``(B, T)`` bool; the real tokens of a row come first.
    """

    def __init__(self, mask: Tensor) -> None:
        self.shape, self.mask = mask.shape, mask
        self.place = mask.flatten().nonzero().squeeze(1)

    def packed(self, x: Tensor) -> Tensor:
        """``(B, T, W)`` -> ``(n, W)``."""
        return x.flatten(0, 1).index_select(0, self.place)

    def padded(self, x: Tensor) -> Tensor:
        """``(n, W)`` -> ``(B, T, W)``, zero where nothing is real."""
        rows, length = self.shape
        return x.new_zeros(rows * length, x.shape[1]).index_copy(0, self.place, x).view(rows, length, x.shape[1])

    def at(self, column: Tensor) -> Tensor:
        """``(B,)`` places in the rows -> places among the ``n``."""
        number = self.mask.flatten().cumsum(0) - 1
        return number[torch.arange(self.shape[0], device=column.device) * self.shape[1] + column]

    def kept(self, x: Tensor, share: float) -> Tensor:
        """``(n, W)`` with whole rows left out with probability ``share``, and the others scaled for it."""
        if not share:
            return x
        scale = x.new_empty(self.shape[0]).bernoulli_(1 - share).div_(1 - share)
        return x * scale[self.place // self.shape[1], None]

    def attend(self, qkv: Tensor, heads: int) -> Tensor:
        """Causal attention within each row: ``(n, 3 W)`` -> ``(n, W)``. What follows a row's end is never seen."""
        q, k, v = self.padded(qkv).view(*self.shape, 3, heads, qkv.shape[1] // (3 * heads)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.packed(found.transpose(1, 2).flatten(2))


class _Block(nn.Module):
    """Causal attention and a two-layer network, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, 4 * width)
        self.back = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, packing: _Packing, dropout: float, skipped: float) -> Tensor:
        """Real tokens ``(n, W)`` -> the same; of each text either half is left out with probability ``skipped``."""
        attended = self.out(packing.attend(self.qkv(self.norm1(x)), self.heads))
        x = x + packing.kept(F.dropout(attended, dropout), skipped)
        return x + packing.kept(F.dropout(self.back(F.gelu(self.hidden(self.norm2(x)))), dropout), skipped)


class TextTransformer(TextEncoder):
    """CLIP's text transformer, small: pre-norm, causal, learnt positions; the feature is the output at [EOT].

    Padding takes no part: the linear layers, where the time goes, run over the real tokens of the batch as one
    ``(n, width)`` matrix, and only attention sees rows of equal length. A training step is twice as quick as that of
    transformers' CLIPTextModel or torch's TransformerEncoder where captions differ in length.

    Args:
        width: of tokens and features.
        layers: blocks.
        heads: attention heads; ``width`` is a multiple of them.
        vocabulary: rows of the table of embeddings.
        max_tokens: longest text.
        dropout: share of each block's outputs, and of the embeddings, that is dropped in views of role "local".
        stochastic_depth: probability that a text goes past a block's attention, and past its network, in views of role
            "local" (Huang et al. 2016, arXiv 1603.09382; the same for all blocks).

    Raises:
        ConfigError: a setting out of its range.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 2.4, and its initialisation.
    """

    def __init__(
        self,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        vocabulary: int = 2000,
        max_tokens: int = 32,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
    ) -> None:
        large_enough(vocabulary)
        super().__init__(Tokenizer(vocabulary, max_tokens), width)
        for name, value in (("text_width", width), ("text_layers", layers), ("text_heads", heads)):
            if value < 1:
                raise ConfigError(message(name, value, "a whole number from 1"))
        if width % heads:
            raise ConfigError(message("text_width", width, f"multiples of text_heads={heads}"))
        for name, share in (("text_dropout", dropout), ("text_stochastic_depth", stochastic_depth)):
            if not 0 <= share < 1:
                raise ConfigError(message(name, share, "a share from 0, below 1"))
        self.dropout, self.stochastic_depth = dropout, stochastic_depth
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.empty(max_tokens, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self._initialise()

    def _initialise(self) -> None:
        width, depth = self.dim, len(self.blocks)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.position, std=0.01)
        inner, outer = width**-0.5, width**-0.5 * (2 * depth) ** -0.5
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Linear):
                kind = name.rpartition(".")[2]
                nn.init.normal_(module.weight, std={"qkv": inner, "hidden": (2 * width) ** -0.5}.get(kind, outer))
                nn.init.zeros_(module.bias)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids ``(B, T)`` -> ``(B, T, width)``."""
        embeds: Tensor = self.embedding(ids)
        return embeds

    def encode(
        self, embeds: Tensor, mask: Tensor, eot: Tensor | None = None, dropout: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Embedded tokens -> features ``(B, width)`` and tokens ``(B, T, width)``.

        Raises:
            ShapeError: more tokens than there are positions.
        """
        packing = _Packing(mask)
        shares = (self.dropout, self.stochastic_depth) if dropout and self.training else (0.0, 0.0)
        *_, last = self._run(embeds, packing, *shares)
        tokens = self.norm(last)
        ends = packing.at(mask.sum(dim=1) - 1 if eot is None else eot)
        return tokens.index_select(0, ends), packing.padded(tokens)

    def layers(self, view: View) -> list[Tensor]:
        """Tokens after each block, ``(B, T, width)`` each, zero where there is padding."""
        ids, mask = self.tokenizer(texts(view))
        packing = _Packing(mask)
        return [packing.padded(x) for x in self._run(self.embed(ids), packing)]

    def _run(self, embeds: Tensor, packing: _Packing, dropout: float = 0.0, skipped: float = 0.0) -> Iterator[Tensor]:
        """The real tokens after each block, ``(n, width)``."""
        length = embeds.shape[1]
        if length > len(self.position):
            raise ShapeError(message("embeds", f"{length} tokens", f"at most max_tokens={len(self.position)}"))
        x = F.dropout(packing.packed(embeds + self.position[:length]), dropout)
        for block in self.blocks:
            x = block(x, packing, dropout, skipped)
            yield x
