"""The graph-recommendation plugin: what it offers, by name. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

from counterpoint.plugin import Part, Plugin

GRAPH = frozenset({"tokens", "modalities", "graph"})


def _encoder(**options: Any) -> dict[str, Any]:
    return {"class_path": "counterpoint_graphrec.encoders.LightGCN", "init_args": options}


OURS: dict[str, Any] = {
    "batch_size": 2048,
    "epochs": 100,
    "select": "recall@20",
    "patience": 10,
    "optimization": {"name": "adam", "lr": 1e-3, "weight_decay": 0.0, "warmup": 0.0, "final_lr": 1.0},
}
"""The card's training: Adam at a constant rate, the L2 term in the loss, the best epoch chosen on val."""

plugin = Plugin(
    name="graphrec",
    summary="who touched what: interaction tables, LightGCN and its contrastive kin, full ranking",
    modalities=("user", "item"),
    datasets={
        "movielens": Part(
            "counterpoint_graphrec.data:MovieLens",
            "movielens-100k: 100,000 ratings of films, fetched once",
            exempt={"*": "its file must be downloaded first"},
        ),
        "arrays": Part(
            "counterpoint_graphrec.data:InteractionArrays",
            "an .npz file of (user, item) pairs; douban-book, lastfm and amazon-beauty of the data home",
            example="counterpoint_graphrec.data.examples:arrays",
        ),
        "recbole": Part(
            "counterpoint_graphrec.data:RecBoleFile",
            "a RecBole .inter file, with its .item file where there is one",
            example="counterpoint_graphrec.data.examples:recbole",
        ),
        "table": Part(
            "counterpoint_graphrec.data:InteractionTable",
            "CSV, TSV or Parquet with a user and an item column",
            example="counterpoint_graphrec.data.examples:table",
        ),
    },
    views={
        "nodes": Part("counterpoint_graphrec.views:NodeViews", "an interaction's user and item, each under a draw"),
    },
    encoders={
        "lightgcn": Part(
            "counterpoint_graphrec.encoders:LightGCN",
            "propagation over the graph of interactions, with noise (LightGCN, SimGCL)",
            capabilities=GRAPH,
            example={"dim": 16},
        ),
        "pyg": Part(
            "counterpoint_graphrec.encoders:PyGConv",
            "any message passing of torch-geometric by name",
            capabilities=GRAPH,
            example={"name": "SAGEConv", "dim": 16},
        ),
    },
    tasks={
        "recommender": Part("counterpoint_graphrec.tasks:Recommender", "the k best items for a user, with reasons"),
    },
    methods={
        "bprmf": Part(
            "counterpoint_graphrec.methods:BPRMF",
            "matrix factorisation by pairwise ranking (BPR)",
            capabilities=frozenset({"graph"}),
        ),
        "lightgcn": Part(
            "counterpoint_graphrec.methods:LightGCNMethod",
            "BPR on propagated embeddings (LightGCN)",
            capabilities=frozenset({"graph"}),
        ),
        "sgl": Part(
            "counterpoint_graphrec.methods:SGL",
            "LightGCN, and contrast between two randomly thinned graphs",
            capabilities=frozenset({"graph"}),
        ),
        "simgcl": Part(
            "counterpoint_graphrec.methods:SimGCL",
            "LightGCN, and contrast between two noisy passes",
            capabilities=frozenset({"graph"}),
        ),
        "xsimgcl": Part(
            "counterpoint_graphrec.methods:XSimGCL",
            "one noisy pass, and contrast across its layers",
            capabilities=frozenset({"graph"}),
        ),
    },
    recipes={
        "bprmf": {**OURS, "encoder": _encoder(layers=0)},
        "lightgcn": {**OURS, "encoder": _encoder(layers=3)},
        "sgl": {**OURS, "encoder": _encoder(layers=3)},
        "simgcl": {**OURS, "encoder": _encoder(layers=3, first_layer=1)},
        "xsimgcl": {**OURS, "encoder": _encoder(layers=3, first_layer=1)},
    },
    protocol=Part("counterpoint_graphrec.protocol:Ranking", "full ranking of all items, training items masked"),
    report={
        "popularity": Part("counterpoint_graphrec.report:popularity", "recall by popularity, and the long tail"),
        "uniformity": Part("counterpoint_graphrec.report:uniformity", "uniformity and recall over epochs"),
        "examples": Part("counterpoint_graphrec.report:examples", "what some users had, and what they are shown"),
    },
)
