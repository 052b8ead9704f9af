"""What can be done to a caption's words: stop words left out, two swapped, some deleted, one said otherwise.

Words are what white space divides. English ones are known as stop words or have synonyms; of a text in another language
words can be swapped and deleted, and one that is written without spaces stays as it is.
"""

from __future__ import annotations

import string
from functools import cache
from importlib import resources
from random import Random

STOP_WORDS = frozenset(
    """
    a an the this that these those
    i me my myself we our ours ourselves you your yours yourself yourselves
    he him his himself she her hers herself it its itself they them their theirs themselves
    who whom whose which what
    am is are was were be been being have has had having do does did doing will would shall should could
    isn't aren't wasn't weren't don't doesn't didn't hasn't haven't hadn't
    and but or nor if because as until while than so
    of at by for with about against into through during before after to from in on
    again further then once here there when where why how
    all any both each few more most other some such only own same too very just now also s t
    """.split()  # noqa: SIM905
)
"""English function words, without those for what a picture shows: where something is (up, above, between), and what is
not there (no, without)."""

_TABLE = "synonyms.txt"


def without_stop_words(words: list[str]) -> list[str]:
    """The words that are no stop words; all of them where nothing would be left."""
    return [word for word in words if _bare(word) not in STOP_WORDS] or words


def swap(words: list[str], random: Random) -> list[str]:
    """Two of two or more words change places."""
    first, second = random.sample(range(len(words)), 2)
    swapped = list(words)
    swapped[first], swapped[second] = words[second], words[first]
    return swapped


def delete(words: list[str], random: Random, p: float) -> list[str]:
    """Each word is left out with probability ``p``; one, drawn, stays if all would go."""
    return [word for word in words if random.random() >= p] or [random.choice(words)]


def replaceable(words: list[str]) -> list[str]:
    """The different words that have synonyms, bare: without stop words."""
    known = synonyms()
    return [bare for bare in dict.fromkeys(map(_bare, words)) if bare in known and bare not in STOP_WORDS]


def replace(words: list[str], random: Random, candidates: list[str]) -> list[str]:
    """One of ``candidates`` (see `replaceable`), wherever it stands, becomes one of its synonyms.

    Punctuation around it and a capital at its beginning, or throughout, stay.
    """
    old = random.choice(candidates)
    new = random.choice(synonyms()[old])
    return [_dressed(new, word) if _bare(word) == old else word for word in words]


def _dressed(new: str, word: str) -> str:
    """``new`` in place of ``word``, with its punctuation and capitals."""
    core = word.strip(string.punctuation)
    if len(core) > 1 and core.isupper():
        new = new.upper()
    elif core[:1].isupper():
        new = new[:1].upper() + new[1:]
    return word.replace(core, new, 1)


def _bare(word: str) -> str:
    return word.strip(string.punctuation).casefold()


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Each single word of the table that ships with the plugin -> what may stand for it."""
    text = resources.files(__package__).joinpath(_TABLE).read_text(encoding="utf-8")
    found: dict[str, dict[str, None]] = {}
    for line in text.splitlines():
        group = [entry.strip() for entry in line.partition("#")[0].split(",") if entry.strip()]
        for word in group:
            if " " not in word:
                found.setdefault(word, {}).update(dict.fromkeys(other for other in group if other != word))
    return {word: tuple(others) for word, others in found.items()}
