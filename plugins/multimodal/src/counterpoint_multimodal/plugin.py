"""The multimodal plugin: what it offers, by name. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

from counterpoint.plugin import Part, Plugin

TOWERS = frozenset({"tokens", "modalities"})
PAIR = "counterpoint.methods.pair:Pair"


def _made(path: str, **options: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": options}


def _pair(**options: Any) -> dict[str, Any]:
    """The core's pair without projectors: the towers end in the space that both share."""
    return _made("counterpoint.methods.pair.Pair", projector={"class_path": "torch.nn.Identity"}, **options)


RAW = "it is made around an encoder and takes raw images, not features; its own tests look at the same"
"""Why some checks of the conformance kit do not apply to a task."""

BASIC: dict[str, Any] = {
    "batch_size": 256,
    "epochs": 30,
    "select": "recall@10",
    "patience": 8,
    "optimization": {"lr": 3e-3},
}
"""What the recipes have in common."""

plugin = Plugin(
    name="multimodal",
    summary="pictures and their texts: CLIP and what improves it, retrieval both ways, classes by prompts",
    modalities=("image", "text"),
    datasets={
        "emoji": Part(
            "counterpoint_multimodal.data:Emoji",
            "emoji: drawn emoji and their names, made once from two packages",
            exempt={"*": "its packages must be downloaded first"},
        ),
        "arrays": Part(
            "counterpoint_multimodal.data:PairArrays",
            "an .npz file of pictures and texts; emoji-styles and fashion-products of the data home",
            example="counterpoint_multimodal.data.examples:arrays",
        ),
        "shards": Part(
            "counterpoint_multimodal.data:PairShards",
            "WebDataset .tar shards",
            example="counterpoint_multimodal.data.examples:shards",
        ),
        "table": Part(
            "counterpoint_multimodal.data:PairTable",
            "CSV, TSV, Parquet or JSON lines with a column of image paths and one or more of captions",
            example="counterpoint_multimodal.data.examples:table",
        ),
        "folder": Part(
            "counterpoint_multimodal.data:PairFolder",
            "a folder of images whose names, or text files beside them, are the captions",
            example="counterpoint_multimodal.data.examples:folder",
        ),
    },
    views={
        "pairs": Part("counterpoint_multimodal.views:PairViews", "the image and the text, each lightly augmented"),
        "rocket": Part(
            "counterpoint_multimodal.views:RocketViews", "a weak and several strong views of each (CLIP-rocket)"
        ),
        "slip": Part(
            "counterpoint_multimodal.views:SLIPViews", "a weak view of each, and two strong ones of the image (SLIP)"
        ),
    },
    encoders={
        "towers": Part(
            "counterpoint_multimodal.encoders:TwoTowers",
            "an image tower of any installed plugin, and a text transformer, small enough for CPUs",
            capabilities=TOWERS,
            example={"dim": 16},
        ),
        "clip": Part(
            "counterpoint_multimodal.encoders:CLIPTowers",
            "CLIP and SigLIP of transformers: at any size, or a checkpoint",
            capabilities=TOWERS,
            example={"width": 32, "layers": 2},
        ),
        "fused": Part(
            "counterpoint_multimodal.encoders:FusedTowers",
            "two image towers fused by cross-attention, and a text transformer (CoME-VL)",
            capabilities=TOWERS,
            example={"dim": 16},
        ),
    },
    tasks={
        "zero-shot": Part("counterpoint_multimodal.tasks:ZeroShot", "classes by prompts, without a label"),
        "picture-search": Part("counterpoint_multimodal.tasks:PictureSearch", "pictures by words, by picture, by both"),
        "prompts": Part(
            "counterpoint_multimodal.tasks:PromptClasses",
            "prompts learnt from a few labels (CoOp, CoCoOp, GOPro)",
            exempt=dict.fromkeys(("measures", "repeats", "untouched", "errors"), RAW),
        ),
        "grounding": Part("counterpoint_multimodal.tasks:Grounding", "what is where: a tiny decoder on visual tokens"),
    },
    methods={
        "clip": Part(
            PAIR, "images and texts attract by softmax, with learnt temperature (CLIP)", frozenset({"modalities"})
        ),
        "siglip": Part(PAIR, "each image and text by itself, by sigmoid (SigLIP)", frozenset({"modalities"})),
        "rocket": Part(
            "counterpoint_multimodal.methods:Rocket",
            "CLIP on weak and strong views with heads of their own, and further losses (CLIP-rocket)",
            frozenset({"modalities"}),
        ),
        "slip": Part(
            "counterpoint_multimodal.methods:SLIP",
            "CLIP, and SimCLR, SimSiam, BYOL or Barlow Twins between two views of the image",
            frozenset({"modalities"}),
        ),
    },
    recipes={
        "clip": {**BASIC, "method": _pair()},
        "siglip": {**BASIC, "method": _pair(objective={"class_path": "counterpoint.objectives.Sigmoid"})},
        "rocket": {
            **BASIC,
            "views": "rocket",
            "encoder": _made("counterpoint_multimodal.encoders.TwoTowers", local_heads=True),
        },
        "slip": {**BASIC, "views": "slip"},
    },
    protocol=Part(
        "counterpoint_multimodal.protocol:PairRetrieval", "retrieval both ways, classes by prompts, the modality gap"
    ),
    thumbnail=Part("counterpoint_multimodal.report:thumbnail", "the picture, small, and its text"),
    report={"queries": Part("counterpoint_multimodal.report:queries", "what some texts find, and what some pictures")},
    requires=("transformers>=5", "tokenizers>=0.20", "torchvision>=0.21", "pillow>=10.1"),
)
