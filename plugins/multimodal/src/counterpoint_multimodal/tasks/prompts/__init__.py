"""Prompts learnt from a few labels, for a frozen image-text encoder: CoOp, CoCoOp and GOPro.

``seen`` (what a learner is told of an image) -> ``learners`` (context tokens) -> ``text`` (prompts, encoded) ->
``losses`` -> ``training``; ``task`` puts them together, ``kept`` writes and reads what was learnt.
"""

from __future__ import annotations

from counterpoint_multimodal.tasks.prompts.generalisation import base_to_new, harmonic_mean
from counterpoint_multimodal.tasks.prompts.learners import CoCoOp, CoOp, GOPro, PromptLearner
from counterpoint_multimodal.tasks.prompts.task import PromptClasses
from counterpoint_multimodal.tasks.prompts.views import PromptViews

__all__ = ["CoCoOp", "CoOp", "GOPro", "PromptClasses", "PromptLearner", "PromptViews", "base_to_new", "harmonic_mean"]
