"""``counterpoint app picture-search``: words in, verbs run. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from counterpoint.errors import ConfigError, message
from counterpoint_apps.picture_search import app
from counterpoint_apps.pictures.options import add_page, add_update, update_options
from counterpoint_apps.shell import Verbs, add_forms, add_verb, at_least

INDEX, PROMPTS = Path("picture-index"), Path("prompts")

EXAMPLES = """examples:
  counterpoint app picture-search index photos/ --run runs/pairs    make an index, or bring it up to date
  counterpoint app picture-search search "red shoe"                 the pictures that show it
  counterpoint app picture-search classify --classes "shoe,shirt"   pictures into classes that are only named
  counterpoint app picture-search prompts --run runs/pairs          better words for classes, from a few labels
  counterpoint app picture-search serve                             the same in the browser
"""
INDEX_EXAMPLES = """SOURCE is a folder of pictures, a CSV, TSV, Parquet or JSON-lines table with a column of paths, an
.npz archive, WebDataset .tar shards, or a data set by name; without it, the data that the run was trained on. What did
not change is not embedded again; what is gone disappears; damaged pictures are listed. Stopped or killed, the same
command goes on.

examples:
  counterpoint app picture-search index photos/ --run runs/pairs
  counterpoint app picture-search index products.csv --image file --caption title --run runs/pairs
  counterpoint app picture-search index --run runs/pairs --index indexes/pairs
"""
SEARCH_EXAMPLES = """Several words are one text if they are quoted; several texts are as many searches. With --image,
each text and the picture count together: --weight 1 is the words alone, 0 the picture alone.

examples:
  counterpoint app picture-search search "red shoe" -k 20 --sheet shoes.png
  counterpoint app picture-search search "red shoe" "a watch" --csv > found.csv
  counterpoint app picture-search search --image shoe.jpg
  counterpoint app picture-search search "in blue" --image shoe.jpg --weight 0.6 --json
"""
CLASSIFY_EXAMPLES = """Nothing is trained: a class is what the run makes of its name, in a few sentences. Without
pictures, those of the index are classified. With --prompts, by what `prompts` has learnt; its classes need not be
named, and others may be.

examples:
  counterpoint app picture-search classify --classes "shoe,shirt,watch" --csv > classes.csv
  counterpoint app picture-search classify new/ --classes classes.txt -k 1 --sheet classes.png
  counterpoint app picture-search classify cat.jpg --classes "cat,dog" --template "a drawing of a {}"
  counterpoint app picture-search classify new/ --prompts prompts/
"""
PROMPTS_EXAMPLES = """LABELLED is a folder with a subfolder for each class, a table with a column of classes, an
archive or a data set; without it, the data that the run was trained on. The words "a photo of a" before a class's name
are replaced by what tells these classes apart best; the run itself stays as it is. What was learnt is measured on
pictures that were not learnt from, beside hand-written prompts. It is written at the end, or not at all.

examples:
  counterpoint app picture-search prompts labelled/ --run runs/pairs --shots 8 --out prompts/
  counterpoint app picture-search prompts products.csv --label kind --run runs/pairs --method coop
  counterpoint app picture-search classify new/ --prompts prompts/
"""
SERVE_EXAMPLES = """examples:
  counterpoint app picture-search serve
  counterpoint app picture-search serve --index indexes/pairs --port 8000 --open
"""


def main(words: Sequence[str]) -> int:
    """Parse the words after ``picture-search`` and run the verb; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="counterpoint app picture-search",
        description="Search pictures by words, by a picture, or by both.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    for add in (_index, _search, _classify, _prompts, _serve):
        add(verbs)
    parsed = parser.parse_args(list(words))
    code: int = parsed.do(parsed)
    return code


def _verb(verbs: Verbs, name: str, text: str, epilog: str, run: str) -> argparse.ArgumentParser:
    made = add_verb(verbs, name, text, epilog)
    made.add_argument("--index", type=Path, default=INDEX, help=f"directory of the index (default: {INDEX})")
    made.add_argument("--run", type=Path, required=name == "index", help=run)
    return made


def _index(verbs: Verbs) -> None:
    told = "run directory of the multimodal plugin, whose encoder is used"
    verb = _verb(verbs, "index", "make an index of pictures, or bring it up to date", INDEX_EXAMPLES, told)
    verb.add_argument("source", nargs="?", help="folder, table, archive or data set (default: the run's own data)")
    verb.add_argument("--image", metavar="COLUMN", help="column of a table with the paths (default: the usual names)")
    verb.add_argument("--caption", metavar="COLUMN", help="column of a table with the captions, likewise")
    add_update(verb)
    verb.set_defaults(do=_do_index)


def _do_index(parsed: argparse.Namespace) -> int:
    app.demand("lancedb", "filelock")
    from counterpoint_apps.picture_search.encoder import PairEncoder
    from counterpoint_apps.picture_search.samples import open_source
    from counterpoint_apps.pictures.update import update_and_tell

    options = update_options(parsed)
    encoder = PairEncoder.of_run(parsed.run)
    source = open_source(encoder.run, parsed.source, {"image": parsed.image, "caption": parsed.caption})
    update_and_tell(source, encoder, parsed.index, **options)
    return 0


MOVED = "where the index's run lies now"


def _search(verbs: Verbs) -> None:
    verb = _verb(verbs, "search", "the pictures that words, a picture, or both describe", SEARCH_EXAMPLES, MOVED)
    verb.add_argument("words", nargs="*", help="what the pictures should show; in quotes where it is several words")
    verb.add_argument("--image", type=Path, metavar="FILE", help="a picture that they should be like")
    verb.add_argument("--weight", type=float, default=0.5, help="share of the words beside --image (default: 0.5)")
    verb.add_argument("-k", type=int, default=12, help="pictures per search (default: 12)")
    verb.add_argument("--exact", action="store_true", help="compare with everything, whatever the size")
    add_forms(verb)
    verb.add_argument("--sheet", type=Path, help="contact sheet to draw, a PNG file")
    verb.set_defaults(do=_do_search)


def _do_search(parsed: argparse.Namespace) -> int:
    app.demand("lancedb")
    from counterpoint_apps.picture_search.search import search

    search(
        parsed.index,
        parsed.words,
        parsed.image,
        parsed.weight,
        at_least("k", parsed.k, 1),
        parsed.run,
        parsed.sheet,
        parsed.form,
        exact=parsed.exact or None,
    )
    return 0


def _classify(verbs: Verbs) -> None:
    verb = _verb(verbs, "classify", "the likeliest of some classes for each picture", CLASSIFY_EXAMPLES, MOVED)
    verb.add_argument("pictures", nargs="*", type=Path, help="picture files, or folders of them (default: the index)")
    verb.add_argument("--classes", help="names between commas, or a text file with one a line")
    told = "prompt with {} for the class's name; may be given several times (default: a few plain ones)"
    verb.add_argument("--template", action="append", default=[], help=told)
    told = "folder of prompts that were learnt; --classes are then theirs unless others are named"
    verb.add_argument("--prompts", type=Path, metavar="FOLDER", help=told)
    verb.add_argument("-k", type=int, default=3, help="classes per picture (default: 3)")
    add_forms(verb)
    verb.add_argument("--sheet", type=Path, help="contact sheet of each class's best pictures, a PNG file")
    verb.set_defaults(do=_do_classify)


def _do_classify(parsed: argparse.Namespace) -> int:
    app.demand("lancedb")
    from counterpoint_apps.picture_search.classify import classify, read_classes

    if parsed.classes is None and parsed.prompts is None:
        raise ConfigError(message("--classes", "none", 'names, "shoe,shirt", or --prompts FOLDER that was learnt'))
    classify(
        parsed.index,
        parsed.pictures,
        [] if parsed.classes is None else read_classes(parsed.classes),
        parsed.template,
        at_least("k", parsed.k, 1),
        parsed.run,
        parsed.sheet,
        parsed.form,
        parsed.prompts,
    )
    return 0


METHODS = ("gopro", "cocoop", "coop")


def _prompts(verbs: Verbs) -> None:
    text = "learn prompts for classes from a few labelled pictures"
    verb = add_verb(verbs, "prompts", text, PROMPTS_EXAMPLES)
    verb.add_argument("labelled", nargs="?", help="folder, table, archive or data set (default: the run's own data)")
    told = "run directory of the multimodal plugin, whose encoder is used"
    verb.add_argument("--run", type=Path, required=True, help=told)
    verb.add_argument("--out", type=Path, default=PROMPTS, help=f"folder for the prompts (default: {PROMPTS})")
    verb.add_argument("--shots", type=int, default=8, help="pictures of each class to learn from (default: 8)")
    verb.add_argument("--method", choices=METHODS, default=METHODS[0], help="prompt learner (default: gopro)")
    verb.add_argument("--epochs", type=int, default=50, help="passes over these pictures (default: 50)")
    told = 'words before the name that training starts from (default: "a photo of a")'
    verb.add_argument("--context", default="a photo of a", help=told)
    verb.add_argument("--seed", type=int, default=0, help="of the draw of pictures and of training (default: 0)")
    verb.add_argument("--image", metavar="COLUMN", help="column of a table with the paths (default: the usual names)")
    verb.add_argument("--label", metavar="COLUMN", help="column of a table with the classes, likewise")
    verb.add_argument("--overwrite", action="store_true", help="replace prompts that are in --out")
    verb.set_defaults(do=_do_prompts)


def _do_prompts(parsed: argparse.Namespace) -> int:
    app.demand("lancedb")
    from counterpoint_apps.picture_search.prompts import learn

    learn(
        parsed.run,
        parsed.labelled,
        {"image": parsed.image, "label": parsed.label},
        parsed.out,
        method=parsed.method,
        shots=at_least("shots", parsed.shots, 1),
        epochs=at_least("epochs", parsed.epochs, 1),
        context=parsed.context,
        seed=parsed.seed,
        overwrite=parsed.overwrite,
    )
    return 0


def _serve(verbs: Verbs) -> None:
    verb = _verb(verbs, "serve", "search in the browser", SERVE_EXAMPLES, MOVED)
    add_page(verb)
    verb.set_defaults(do=_do_serve)


def _do_serve(parsed: argparse.Namespace) -> int:
    app.demand()
    from counterpoint_apps.picture_search.page import build
    from counterpoint_apps.picture_search.searches import open_index
    from counterpoint_apps.pictures.serve import serve

    at_least("max-upload", parsed.max_upload, 1)
    serve(open_index(parsed.index, parsed.run), build, parsed.host, parsed.port, parsed.max_upload, parsed.open)
    return 0
