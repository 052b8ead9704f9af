"""``counterpoint app image-search``: words in, verbs run. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from counterpoint.errors import ConfigError, message
from counterpoint_apps.image_search import app
from counterpoint_apps.pictures.options import add_page, add_update, update_options
from counterpoint_apps.shell import Verbs, add_forms, add_verb, at_least

INDEX = Path("image-index")

EXAMPLES = """examples:
  counterpoint app image-search index photos/ --run runs/photos     make an index, or bring it up to date
  counterpoint app image-search query cat.jpg                       the most similar pictures
  counterpoint app image-search duplicates --sheet duplicates.png   near-duplicates, in groups
  counterpoint app image-search serve                               the same in the browser
"""
INDEX_EXAMPLES = """Files that did not change (path, size, time; where these differ, content) are not
embedded again; files that are gone disappear; damaged ones are listed. Stopped or killed, the same command goes on.

examples:
  counterpoint app image-search index photos/ --run runs/photos
  counterpoint app image-search index photos/ --run runs/photos --index indexes/photos --workers 4
  counterpoint app image-search index photos/ --encoder timm:resnet18 --weights resnet18.safetensors
"""
QUERY_EXAMPLES = """examples:
  counterpoint app image-search query cat.jpg -k 20 --sheet neighbours.png
  counterpoint app image-search query holiday/ --csv > neighbours.csv
  counterpoint app image-search query cat.jpg --json --index indexes/photos
  counterpoint app image-search query --run runs/photos --samples 5      held-out samples of the run's own data
"""
DUPLICATES_EXAMPLES = """The threshold is the valley of the histogram of scores between near-duplicates
and the rest; where there is no valley, only copies (score 0.9999) count. --threshold overrides.

examples:
  counterpoint app image-search duplicates --sheet duplicates.png
  counterpoint app image-search duplicates --threshold 0.98 --csv > duplicates.csv
"""
SERVE_EXAMPLES = """examples:
  counterpoint app image-search serve
  counterpoint app image-search serve --index indexes/photos --port 8000 --open
"""


def main(words: Sequence[str]) -> int:
    """Parse the words after ``image-search`` and run the verb; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="counterpoint app image-search",
        description="Search pictures by example.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    _index(verbs)
    _query(verbs)
    _duplicates(verbs)
    _serve(verbs)
    parsed = parser.parse_args(list(words))
    code: int = parsed.do(parsed)
    return code


def _verb(verbs: Verbs, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    made = add_verb(verbs, name, text, epilog)
    made.add_argument("--index", type=Path, default=INDEX, help=f"directory of the index (default: {INDEX})")
    return made


def _index(verbs: Verbs) -> None:
    verb = _verb(verbs, "index", "make an index of a folder of pictures, or bring it up to date", INDEX_EXAMPLES)
    verb.add_argument("folder", type=Path, help="folder with pictures, in it or below")
    verb.add_argument("--run", type=Path, help="run directory whose encoder is used")
    verb.add_argument("--encoder", help="instead of a run: timm:NAME, with --weights")
    verb.add_argument("--weights", type=Path, help="weight file of that network (.safetensors, or .pth without pickle)")
    add_update(verb)
    verb.set_defaults(do=_do_index)


def _do_index(parsed: argparse.Namespace) -> int:
    app.demand("lancedb", "filelock")
    from counterpoint_apps.pictures.sources import Folder
    from counterpoint_apps.pictures.update import update_and_tell

    options = update_options(parsed)
    update_and_tell(Folder.checked(parsed.folder), _chosen(parsed), parsed.index, **options)
    return 0


def _chosen(parsed: argparse.Namespace):  # type: ignore[no-untyped-def]  # the type's module is heavy
    from counterpoint_apps.image_search.encoder import ImageEncoder

    if (parsed.run is None) == (parsed.encoder is None):
        found = "neither" if parsed.run is None else "both"
        raise ConfigError(message("--run, --encoder", found, "one of them", "For example: --run runs/photos"))
    if parsed.run is not None:
        return ImageEncoder.of_run(parsed.run)
    kind, _, name = parsed.encoder.partition(":")
    if kind != "timm" or not name:
        raise ConfigError(message("--encoder", repr(parsed.encoder), "timm:NAME, for example timm:resnet18"))
    if parsed.weights is None:
        todo = "Without weights the network is random, and what it finds is too. Give the file of its weights."
        raise ConfigError(message("--weights", "none", "a weight file", todo))
    return ImageEncoder.of_timm(name, parsed.weights)


def _query(verbs: Verbs) -> None:
    verb = _verb(verbs, "query", "the most similar pictures to some pictures", QUERY_EXAMPLES)
    verb.add_argument("images", nargs="*", type=Path, help="picture files, or folders of them")
    verb.add_argument("-k", type=int, default=20, help="neighbours per query (default: 20)")
    verb.add_argument("--run", type=Path, help="where the index's run lies now; with --samples: the run to look at")
    verb.add_argument(
        "--samples", type=int, help="instead of files: held-out samples of the run, among its train split"
    )
    verb.add_argument("--data", help="with --samples: other data than the run's own")
    verb.add_argument("--seed", type=int, default=0, help="draws the samples (default: 0)")
    verb.add_argument("--exact", action="store_true", help="compare with everything, whatever the size")
    add_forms(verb)
    verb.add_argument("--sheet", "--out", type=Path, help="contact sheet to draw, a PNG file")
    verb.set_defaults(do=_do_query)


def _do_query(parsed: argparse.Namespace) -> int:
    at_least("k", parsed.k, 1)
    if parsed.samples is not None or (not parsed.images and parsed.run is not None):
        from counterpoint_apps.image_search.samples import search_samples

        if parsed.run is None or parsed.images:
            raise ConfigError(message("--samples", "no --run, or pictures besides", "--run RUN and no picture"))
        count = 5 if parsed.samples is None else at_least("samples", parsed.samples, 1)
        search_samples(parsed.run, parsed.data, count, parsed.k, parsed.seed, parsed.sheet, parsed.form)
        return 0
    if not parsed.images:
        raise ConfigError(message("images", "none", "picture files or folders", "Or --run RUN --samples 5."))
    app.demand("lancedb")
    from counterpoint_apps.image_search.query import query

    query(
        parsed.index,
        parsed.images,
        parsed.k,
        parsed.run,
        parsed.sheet,
        parsed.form,
        exact=parsed.exact or None,
    )
    return 0


def _duplicates(verbs: Verbs) -> None:
    verb = _verb(verbs, "duplicates", "groups of near-duplicates in an index", DUPLICATES_EXAMPLES)
    verb.add_argument("--threshold", type=float, help="least score of a pair, above 0 and up to 1")
    add_forms(verb)
    verb.add_argument("--sheet", type=Path, help="contact sheet to draw, a PNG file")
    verb.set_defaults(do=_do_duplicates)


def _do_duplicates(parsed: argparse.Namespace) -> int:
    app.demand("lancedb")
    from counterpoint_apps.image_search.duplicates import duplicates

    duplicates(parsed.index, parsed.threshold, parsed.sheet, parsed.form)
    return 0


def _serve(verbs: Verbs) -> None:
    verb = _verb(verbs, "serve", "search in the browser", SERVE_EXAMPLES)
    verb.add_argument("--run", type=Path, help="where the index's run lies now")
    add_page(verb)
    verb.set_defaults(do=_do_serve)


def _do_serve(parsed: argparse.Namespace) -> int:
    app.demand()
    from counterpoint_apps.image_search.encoder import open_index
    from counterpoint_apps.image_search.page import build
    from counterpoint_apps.pictures.serve import serve

    at_least("max-upload", parsed.max_upload, 1)
    serve(open_index(parsed.index, parsed.run), build, parsed.host, parsed.port, parsed.max_upload, parsed.open)
    return 0
