"""What the plugin adds to a run's report: what some texts find, and what some pictures; and thumbnails.

Only val is asked; numbers of test come from ``counterpoint evaluate``.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint import plugin
from counterpoint.errors import DataError
from counterpoint.evaluation.cross_modal import first_ranks, recall_at
from counterpoint.evaluation.knn import knn_search
from counterpoint.report import Answers, Context, Entry, Gallery, Missing, Section, Tile
from counterpoint.report.section import Mark, Preview
from counterpoint.training.data import mix
from counterpoint.types import Sample
from counterpoint_multimodal.cases import Case, Found, embedded

ASKED, FOUND, LINES = 6, 7, 5
"""Queries each way; pictures and texts of an answer."""
SIDE, LARGE = 96, 160
"""Pixels of a picture that was found, and of one that is asked about."""
K = 10


def thumbnail(sample: Sample, side: int) -> Preview:
    """The picture, its longer side at most ``side`` pixels."""
    part = plugin.get("vision").thumbnail
    assert part is not None  # counterpoint-vision, a declared dependency, has one
    made: Preview = part.load()(sample, side)
    return made


def queries(context: Context) -> Section:
    """Some validation texts with the pictures that they find, and the other way round.

    Raises:
        Missing: the run is not finished, or its data is gone or no pairs.
    """
    dataset, run = context.dataset, context.run
    try:
        case, (found,) = embedded(run.encoder, run.views, dataset, "val")
    except DataError as error:
        raise Missing(f"This needs pairs of the validation split: {error}") from error
    asked = Asked(context, case, found)
    pictures = asked.drawn(int(context.config["seed"]))
    texts = [asked.texts_of(picture)[0] for picture in pictures]
    count, chance = len(asked.pictures), case.chance(None)
    lead = (
        f"In front a text of the validation split, drawn by the seed; beside it the nearest of {count:,} pictures, and "
        "their cosine. A tick is a picture that has this text; where none is near enough, the last shows at "
        f"which place it stands. Of all {len(case.texts):,} texts {recall_at(asked.text_ranks, K):.0%} find one among "
        f"the first {K}; by chance {chance[f'recall@{K},text-to-image']:.1%} would."
    )
    back = (
        f"The other way: a picture, and the nearest of {len(case.texts):,} texts. Of all pictures "
        f"{recall_at(asked.picture_ranks, K):.0%} find a text of theirs among the first {K}; by chance "
        f"{chance[f'recall@{K},image-to-text']:.1%} would."
    )
    gallery = Gallery([asked.row(text) for text in texts], "Texts and the pictures that they find")
    answers = Answers([asked.answer(picture) for picture in pictures], "Pictures and the texts that they find")
    return Section("What words find, and pictures", lead, [gallery, back, answers])


class Asked:
    """A case whose vectors are asked.

    Args:
        context: the run.
        case: pictures and texts.
        found: their vectors.
    """

    def __init__(self, context: Context, case: Case, found: Found) -> None:
        self.context, self.case = context, case
        self.pictures, self.texts = normalize(found.images[case.rows], dim=1), normalize(found.texts, dim=1)
        self.picture_ranks = first_ranks(self.pictures, self.texts, case.right)
        self.text_ranks = first_ranks(self.texts, self.pictures, case.right.flip(1))

    def drawn(self, seed: int) -> list[int]:
        """Pictures to ask about: drawn by the seed, of as many classes as there are, with texts that differ."""
        order = np.random.default_rng(mix(seed, "queries")).permutation(len(self.pictures)).tolist()
        labels = self.case.labels[self.case.rows].tolist()
        seen: dict[int, int] = {}
        turn, taken = {}, set[int]()
        for picture in order:
            text = self.texts_of(picture)[0]
            if text not in taken:
                taken.add(text)
                turn[picture] = seen[labels[picture]] = seen.get(labels[picture], -1) + 1
        return sorted(turn, key=lambda picture: turn[picture])[:ASKED]  # the first of every class, then the second

    def texts_of(self, picture: int) -> list[int]:
        """Its texts."""
        found: list[int] = self.case.right[self.case.right[:, 0] == picture, 1].tolist()
        return found

    def pictures_of(self, text: int) -> list[int]:
        """Its pictures."""
        found: list[int] = self.case.right[self.case.right[:, 1] == text, 0].tolist()
        return found

    def row(self, text: int) -> list[Tile]:
        """A text, and the pictures that it finds."""
        scores, places = _nearest(self.texts[text], self.pictures, FOUND)
        right, rank = self.pictures_of(text), int(self.text_ranks[text])
        if rank > FOUND:  # the last place is for the one that was looked for
            scores, places = scores[:-1], places[:-1]
        note = f"{len(right)} pictures have it" if len(right) > 1 else ""
        tiles = [Tile(self.case.texts[text], note=note, mark="query")]
        tiles += [self._tile(p, f"{s:.2f}", "same" if p in right else "") for s, p in zip(scores, places)]
        if rank > FOUND:
            best = max(right, key=lambda picture: float(self.texts[text] @ self.pictures[picture]))
            tiles.append(self._tile(best, f"at place {rank:,}", "same"))
        return tiles

    def answer(self, picture: int) -> tuple[Tile, list[Entry]]:
        """A picture, and the texts that it finds."""
        scores, places = _nearest(self.pictures[picture], self.texts, LINES)
        right, rank = self.texts_of(picture), int(self.picture_ranks[picture])
        note = f"its own text is at place {rank:,}" if rank > LINES else ""
        entries = [Entry(self.case.texts[t], f"{s:.2f}", t in right) for s, t in zip(scores, places)]
        return self._tile(picture, note, "query"), entries

    def _tile(self, picture: int, note: str, mark: Mark) -> Tile:
        sample = int(self.case.index[self.case.rows[picture]])
        preview = self.context.preview(sample, LARGE if mark == "query" else SIDE)
        return Tile(preview, self.case.texts[self.texts_of(picture)[0]], note, mark)


def _nearest(query: Tensor, gallery: Tensor, k: int) -> tuple[list[float], list[int]]:
    scores, places = knn_search(query[None], gallery, min(k, len(gallery)))
    return scores[0].tolist(), places[0].tolist()
