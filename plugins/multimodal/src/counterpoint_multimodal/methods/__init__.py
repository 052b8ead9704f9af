"""Methods on pictures and their texts, beyond the core's pair: CLIP-rocket with its further losses, and SLIP."""

from __future__ import annotations

from counterpoint_multimodal.methods.extra import BYOLIP, BarLIP, Extra, SiamLIP, SwALIP, SwALIPV1
from counterpoint_multimodal.methods.rocket import Rocket
from counterpoint_multimodal.methods.slip import SLIP

__all__ = ["BYOLIP", "SLIP", "BarLIP", "Extra", "Rocket", "SiamLIP", "SwALIP", "SwALIPV1"]
