"""The vision plugin: what it offers, by name. Imports nothing heavy."""

from __future__ import annotations

from counterpoint.plugin import Part, Plugin

plugin = Plugin(
    name="vision",
    summary="images: folders, tables, arrays and named sets; batched views; timm and small CPU networks",
    modalities=("image",),
    datasets={
        "photographs": Part(
            "counterpoint_vision.data:Photographs",
            "patches of real pictures, nothing to download",
            example={"source": "photographs", "train_patches": 5},
        ),
        "public": Part(
            "counterpoint_vision.data:PublicSet",
            "cifar10, cifar100, fashion-mnist, mnist, stl10, …",
            exempt={"*": "its files must be downloaded first"},
        ),
        "arrays": Part(
            "counterpoint_vision.data:ImageArrays",
            "an .npz file of images; cifar10-small of the data home",
            example="counterpoint_vision.data.examples:arrays",
        ),
        "table": Part(
            "counterpoint_vision.data:ImageTable",
            "CSV, TSV or Parquet with a column of image paths",
            example="counterpoint_vision.data.examples:table",
        ),
        "folder": Part(
            "counterpoint_vision.data:ImageFolder",
            "a folder of images, with or without class subfolders",
            example="counterpoint_vision.data.examples:folder",
        ),
    },
    views={
        "simclr": Part("counterpoint_vision.views:SimCLRViews", "random crop, flip, colour jitter, grey (SimCLR)"),
        "moco": Part("counterpoint_vision.views:MoCoViews", "SimCLR's with MoCo v2's strengths"),
        "byol": Part("counterpoint_vision.views:BYOLViews", "two unequal views: blur and solarise (BYOL, MoCo v3)"),
        "multicrop": Part("counterpoint_vision.views:MultiCropViews", "two large crops and several small (SwAV)"),
        "dino": Part("counterpoint_vision.views:DINOViews", "two unequal large crops and several small (DINO)"),
    },
    encoders={
        "slimresnet": Part(
            "counterpoint_vision.encoders:SlimResNet",
            "a slim ResNet for 32-64 px on CPUs",
            capabilities=frozenset({"tokens", "dense"}),
            example={"width": 16},
        ),
        "tinyvit": Part(
            "counterpoint_vision.encoders:TinyViT",
            "a tiny vision transformer",
            capabilities=frozenset({"tokens", "dense"}),
            example={"depth": 2},
        ),
        "timm": Part(
            "counterpoint_vision.encoders:Timm",
            "any network of timm by name",
            capabilities=frozenset({"tokens"}),
            example={"name": "test_resnet"},
        ),
    },
    tasks={
        "few-labels": Part("counterpoint_vision.tasks:FewLabels", "classes from a few labels per class"),
        "retrieval": Part("counterpoint_vision.tasks:ImageRetrieval", "the most similar images"),
        "duplicates": Part("counterpoint_vision.tasks:NearDuplicates", "near-duplicates, in groups"),
    },
    recipes={
        "moco": {"views": "moco"},
        "mocov3": {"views": "byol"},
        "byol": {"views": "byol"},
        "swav": {"views": "multicrop"},
        "barlowtwins": {"views": "byol"},
        "vicreg": {"views": "byol"},
        "dino": {"views": "dino"},
    },
    decode=Part("counterpoint_vision.data.decode:decode", "bytes of an image file -> uint8 (3, H, W)"),
    thumbnail=Part("counterpoint_vision.report:thumbnail", "the image, small"),
    report={"views": Part("counterpoint_vision.report:views", "training samples beside the views compared")},
    requires=("timm>=1.0", "torchvision>=0.21", "pillow>=10.1", "scikit-image>=0.22"),
)
