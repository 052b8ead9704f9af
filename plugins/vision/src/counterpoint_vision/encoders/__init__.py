"""Image encoders: two small ones made for CPUs, and any model of timm by name."""

from __future__ import annotations

from counterpoint_vision.encoders.resnet import SlimResNet
from counterpoint_vision.encoders.timm import Timm
from counterpoint_vision.encoders.vit import TinyViT

__all__ = ["SlimResNet", "Timm", "TinyViT"]
