"""Text to token ids and back: a byte-level BPE learnt from the captions, or a checkpoint's; its file is in a buffer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, DataError, message

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads would not survive the fork of reading processes
from tokenizers import Tokenizer as Rules
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

PAD, SOT, EOT = "[PAD]", "[SOT]", "[EOT]"
SMALLEST = 256 + 3
"""Every byte and the three tokens above: with these alone any text of any script has ids."""


class Tokens(NamedTuple):
    """Ids of some texts.

    Attributes:
        ids: ``(B, T)`` int64; T is the longest of them, or ``max_tokens`` where the tokenizer pads to that.
        mask: ``(B, T)`` bool, True where a token is of the text; these come first.
    """

    ids: Tensor
    mask: Tensor

    @property
    def eot(self) -> Tensor:
        """``(B,)`` int64, the place of each text's last token."""
        return self.mask.sum(dim=1) - 1


class Tokenizer(nn.Module):
    """[SOT], the text's tokens, [EOT]; what is longer than ``max_tokens`` is cut before [EOT].

    It is learnt from captions, or taken from a checkpoint, and kept as the bytes of ``tokenizer.json`` in a buffer, so
    that it is saved with the weights and loaded from them. A learnt one is blind to case; the same captions give the
    same tokens.

    Args:
        vocabulary: tokens at most; captions with few words give fewer.
        max_tokens: of a text, [SOT] and [EOT] among them.
        full: pad to ``max_tokens``, not to the longest of a batch (SigLIP).

    Attributes:
        file: ``(n,)`` uint8, ``tokenizer.json``; empty until there is one.

    Raises:
        ConfigError: fewer than 3 tokens.
    """

    def __init__(self, vocabulary: int = 2000, max_tokens: int = 32, full: bool = False) -> None:
        super().__init__()
        if max_tokens < 3:
            raise ConfigError(message("max_tokens", max_tokens, "a whole number from 3"))
        self.vocabulary, self.max_tokens, self.full = vocabulary, max_tokens, full
        self.register_buffer("file", torch.empty(0, dtype=torch.uint8))
        self.file: Tensor
        self._rules: Rules | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a tokenizer yet."""
        return self.file.numel() > 0

    def learn(self, captions: Iterable[str]) -> None:
        """Learn the merges of ``captions`` (Sennrich et al. 2016, over bytes as in GPT-2).

        Raises:
            ConfigError: a vocabulary smaller than `SMALLEST`.
            DataError: no caption with a letter in it.
        """
        large_enough(self.vocabulary)
        rules = Rules(models.BPE())
        rules.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        rules.train_from_iterator(
            _some(captions),
            trainers.BpeTrainer(
                vocab_size=self.vocabulary,
                special_tokens=[PAD, SOT, EOT],
                initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                show_progress=False,
            ),
        )
        ends = [(name, rules.token_to_id(name)) for name in (SOT, EOT)]
        rules.post_processor = processors.TemplateProcessing(single=f"{SOT} $A {EOT}", special_tokens=ends)
        rules.enable_padding(pad_id=rules.token_to_id(PAD), pad_token=PAD)
        self.keep(rules)

    def keep(self, rules: Rules) -> None:
        """Take over a tokenizer of the package ``tokenizers``; its padding says with what is padded."""
        padding: dict[str, Any] = rules.padding or {}
        length = self.max_tokens if self.full else None
        rules.enable_padding(**{**padding, "direction": "right", "length": length})
        rules.enable_truncation(self.max_tokens)
        raw = np.frombuffer(rules.to_str().encode(), dtype=np.uint8)
        self.file = torch.from_numpy(raw.copy()).to(self.file.device)
        self._rules = None

    @property
    def rules(self) -> Rules:
        """The tokenizer itself, of the package ``tokenizers``.

        Raises:
            ConfigError: there is none yet.
        """
        if self._rules is None:
            if not self.ready:
                todo = "Call prepare(dataset), or load a trained encoder."
                raise ConfigError(message("tokenizer", "none", "that of a dataset's captions", todo))
            self._rules = Rules.from_buffer(self.file.cpu().numpy().tobytes())
            self._rules.encode_special_tokens = True  # "[EOT]" in a caption is a word, not the end
        return self._rules

    def forward(self, texts: Sequence[str]) -> Tokens:
        """Ids and mask of texts, on the tokenizer's device."""
        if not texts:
            empty = torch.zeros(0, self.max_tokens if self.full else 2, dtype=torch.int64, device=self.file.device)
            return Tokens(empty, empty.bool())
        found = self.rules.encode_batch_fast(list(texts))
        ids = torch.tensor([one.ids for one in found], device=self.file.device)
        mask = torch.tensor([one.attention_mask for one in found], dtype=torch.bool, device=self.file.device)
        return Tokens(ids, mask)

    def words(self, ids: Sequence[int]) -> list[str]:
        """What each id stands for, readable."""
        return [self.rules.decode([number], skip_special_tokens=False) for number in ids]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the length of what is loaded, then its bytes."""
        file = state.get(f"{prefix}file")
        if file is not None and file.dim() == 1 and file.dtype == torch.uint8:
            self.file = self.file.new_empty(file.shape)
        super()._load_from_state_dict(state, prefix, *args)
        self._rules = None


def large_enough(vocabulary: int) -> None:
    """Check the size of a vocabulary that is to be learnt.

    Raises:
        ConfigError: it has no room for every byte.
    """
    if vocabulary < SMALLEST:
        raise ConfigError(message("vocabulary", vocabulary, f"a whole number from {SMALLEST}"))


def _some(captions: Iterable[str]) -> list[str]:
    found = [caption for caption in captions if caption.strip()]
    if not found:
        raise DataError(message("captions", "none", "at least one to learn a vocabulary from"))
    return found
