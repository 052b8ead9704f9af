"""Batched image views: SimCLR, MoCo, BYOL, SwAV and DINO augmentations on uint8 tensors."""

from counterpoint_vision.views.augmentation import Augmentation
from counterpoint_vision.views.base import ImageViews
from counterpoint_vision.views.presets import MultiCropViews, SimCLRViews

__all__ = ["Augmentation", "ImageViews", "MultiCropViews", "SimCLRViews"]
