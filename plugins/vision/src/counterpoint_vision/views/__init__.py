"""Batched image views: SimCLR, MoCo, BYOL, SwAV and DINO augmentations on uint8 tensors."""

from counterpoint_vision.views.base import ImageViews
from counterpoint_vision.views.presets import BYOLViews, DINOViews, MoCoViews, MultiCropViews, SimCLRViews
from counterpoint_vision.views.settings import Augmentation

__all__ = ["Augmentation", "BYOLViews", "DINOViews", "ImageViews", "MoCoViews", "MultiCropViews", "SimCLRViews"]
