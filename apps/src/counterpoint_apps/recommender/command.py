"""``counterpoint app recommender``: words in, verbs run. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from counterpoint.errors import ConfigError, message
from counterpoint_apps.recommender import app
from counterpoint_apps.shell import Verbs, add_address, add_forms, add_verb, at_least

RUN = Path("runs/recommender")
COLUMNS = ("user", "item", "rating", "time", "titles", "min_rating", "core", "split")
"""Options of ``fit`` that are the data set's."""

EXAMPLES = """examples:
  counterpoint app recommender fit clicks.csv                       learn, measure, and say what to do next
  counterpoint app recommender recommend 196                        the best items for a user, and why
  counterpoint app recommender recommend-for "alien" "blade runner" for a newcomer who likes these
  counterpoint app recommender similar "alien"                      items beside an item
  counterpoint app recommender batch --out recs.parquet             for everybody, as a table
  counterpoint app recommender serve                                try it in the browser
"""
FIT_EXAMPLES = """TABLE is a CSV, TSV or Parquet file with a row for every click, purchase, loan or rating; a RecBole
.inter file; an .npz file of pairs; or a data set by name (movielens-100k is fetched once). Settings and epoch are
chosen on val; the numbers at the end are of test, beside simple rules. With a --method of your own, only that is
trained, and every option of `counterpoint pretrain graphrec/METHOD --help` works here too.

examples:
  counterpoint app recommender fit movielens-100k
  counterpoint app recommender fit clicks.csv --user customer --item sku --titles products.csv --out runs/shop
  counterpoint app recommender fit ratings.parquet --min-rating 4 --core 5 --split time
  counterpoint app recommender fit clicks.csv --method lightgcn --epochs 200 --encoder.dim 128
"""
FILTERS = """
--only and --without take a file: ids, one a line; or a CSV, TSV or Parquet table with a column of item ids.
FILE:COLUMN takes the rows where COLUMN is true or above 0, for example --only stock.csv:in_stock
"""
RECOMMEND_EXAMPLES = f"""What a user already has is not shown (--seen shows it).
{FILTERS}
examples:
  counterpoint app recommender recommend 196
  counterpoint app recommender recommend 196 22 244 -k 5 --csv > recommendations.csv
  counterpoint app recommender recommend 196 --group Comedy --only stock.csv:in_stock --run runs/shop
"""
SIMILAR_EXAMPLES = f"""An item is named by its id or by words of its title.
{FILTERS}
examples:
  counterpoint app recommender similar "blade runner"
  counterpoint app recommender similar 89 -k 20 --json
"""
FOR_EXAMPLES = f"""For somebody who was not there in training: nothing is trained, the items are enough.
{FILTERS}
examples:
  counterpoint app recommender recommend-for alien "blade runner"
  counterpoint app recommender recommend-for 183 89 --group Drama --json
"""
BATCH_EXAMPLES = f"""The table has a row per user and rank: user, rank, item, title, score, rule, because. It is
there as a whole or not at all.
{FILTERS}
examples:
  counterpoint app recommender batch --out recs.parquet
  counterpoint app recommender batch --out recs.parquet -k 50 --only stock.csv:in_stock --run runs/shop
"""
SERVE_EXAMPLES = """Search for titles, pick a few, and see recommendations change. Nothing leaves this machine.

examples:
  counterpoint app recommender serve
  counterpoint app recommender serve --run runs/shop --port 8000 --open
"""


def main(words: Sequence[str]) -> int:
    """Parse the words after ``recommender`` and run the verb; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="counterpoint app recommender",
        description="Recommend items to people, from a table of who touched what.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    for add in (_fit, _recommend, _for, _similar, _batch, _serve):
        add(verbs)
    parsed, rest = parser.parse_known_args(list(words))
    if rest and parsed.verb != "fit":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    parsed.rest = rest
    code: int = parsed.do(parsed)
    return code


def _fit(verbs: Verbs) -> None:
    verb = add_verb(verbs, "fit", "learn from a table of who touched what", FIT_EXAMPLES)
    verb.add_argument("table", help="table, file of pairs, or name of a data set")
    verb.add_argument("--out", type=Path, default=RUN, help=f"run directory (default: {RUN})")
    known = "auto (default: three settings are tried; the best on val is kept), xsimgcl, simgcl, sgl, lightgcn, bprmf"
    verb.add_argument("--method", default="auto", help=known)
    verb.add_argument("--user", metavar="COLUMN", help="column of user ids (default: the usual names)")
    verb.add_argument("--item", metavar="COLUMN", help="column of item ids (default: the usual names)")
    verb.add_argument("--rating", metavar="COLUMN", help="column of ratings")
    verb.add_argument("--time", metavar="COLUMN", help="column of times")
    verb.add_argument("--titles", metavar="FILE", help="table of item ids, titles and categories")
    verb.add_argument("--min-rating", type=float, metavar="N", help="a lower rating is no interaction")
    verb.add_argument("--core", type=int, metavar="N", help="only users and items with at least N interactions")
    verb.add_argument("--split", help="random (default), leave-one-out, time, fixed")
    verb.add_argument("--overwrite", action="store_true", help="start again in a directory that holds a run")
    verb.set_defaults(do=_do_fit)


def _do_fit(parsed: argparse.Namespace) -> int:
    from counterpoint_apps.recommender.fit import fit

    options = {name: getattr(parsed, name) for name in COLUMNS if getattr(parsed, name) is not None}
    fit(parsed.table, parsed.out, parsed.method, options, parsed.rest, overwrite=parsed.overwrite)
    return 0


def _of_run(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--run", type=Path, default=RUN, help=f"run directory (default: {RUN})")
    verb.add_argument("--data", help="where the run's table lies now, if it was moved before the first use")


def _filters(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("-k", type=int, default=10, help="items an answer (default: 10)")
    verb.add_argument("--group", action="append", default=[], help="only items of this category (may be repeated)")
    verb.add_argument("--only", metavar="FILE[:COLUMN]", help="only items of this list, e.g. what is in stock")
    verb.add_argument("--without", metavar="FILE[:COLUMN]", help="no item of this list")
    verb.add_argument("--min-users", type=int, default=1, help="only items that N users touched (default: 1)")
    verb.add_argument("--seen", action="store_true", help="also what the user already has")
    _of_run(verb)


def _recommend(verbs: Verbs) -> None:
    verb = add_verb(verbs, "recommend", "the best items for users, with reasons", RECOMMEND_EXAMPLES)
    verb.add_argument("users", nargs="+", metavar="USER", help="user ids")
    _asking(verb)


def _for(verbs: Verbs) -> None:
    verb = add_verb(verbs, "recommend-for", "the best items for a newcomer who likes some items", FOR_EXAMPLES)
    verb.add_argument("items", nargs="+", metavar="ITEM", help="ids, or words of a title")
    _asking(verb)


def _similar(verbs: Verbs) -> None:
    verb = add_verb(verbs, "similar", "items that the same people touch", SIMILAR_EXAMPLES)
    verb.add_argument("similar", metavar="ITEM", help="its id, or words of its title")
    _asking(verb)


def _asking(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--reasons", type=int, default=3, help="items named as reasons, at most (default: 3)")
    _filters(verb)
    add_forms(verb)
    verb.set_defaults(do=_do_ask)


def _do_ask(parsed: argparse.Namespace) -> int:
    at_least("k", parsed.k, 1)
    at_least("reasons", parsed.reasons, 0)
    from counterpoint_apps.recommender.answers import show
    from counterpoint_apps.recommender.lists import chosen
    from counterpoint_graphrec.tasks import Recommender

    recommender = Recommender.of_run(parsed.run, parsed.data, parsed.k, parsed.reasons)
    filters = chosen(parsed)
    if parsed.verb == "recommend":
        answers = [recommender.recommend(user, filters=filters) for user in parsed.users]
    elif parsed.verb == "similar":
        answers = [recommender.similar(parsed.similar, filters=filters)]
    else:
        answers = [recommender.recommend_for(parsed.items, filters=filters)]
    show(answers, parsed.form)
    return 0


def _batch(verbs: Verbs) -> None:
    verb = add_verb(verbs, "batch", "the best items for every user, as a Parquet table", BATCH_EXAMPLES)
    verb.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    verb.add_argument("--reasons", type=int, default=1, help="items in the column because, at most (default: 1)")
    _filters(verb)
    verb.set_defaults(do=_do_batch)


def _do_batch(parsed: argparse.Namespace) -> int:
    at_least("k", parsed.k, 1)
    at_least("reasons", parsed.reasons, 0)
    if parsed.out.is_dir():
        raise ConfigError(message("--out", f"{parsed.out}, a folder", "a Parquet file to write"))
    from counterpoint_apps.recommender.batch import batch
    from counterpoint_apps.recommender.lists import chosen
    from counterpoint_graphrec.tasks import Recommender

    batch(Recommender.of_run(parsed.run, parsed.data, parsed.k, parsed.reasons), parsed.out, chosen(parsed))
    return 0


def _serve(verbs: Verbs) -> None:
    verb = add_verb(verbs, "serve", "try it in the browser", SERVE_EXAMPLES)
    _of_run(verb)
    add_address(verb)
    verb.set_defaults(do=_do_serve)


def _do_serve(parsed: argparse.Namespace) -> int:
    app.demand()
    from counterpoint_apps.recommender.serve import serve

    serve(parsed.run, parsed.data, parsed.host, parsed.port, parsed.open)
    return 0
