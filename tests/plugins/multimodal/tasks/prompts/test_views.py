"""The three views: of the right image, of raw pixels, by the generator alone."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import ConfigError, DataError
from counterpoint.types import Batch
from counterpoint_multimodal.tasks.prompts.views import PromptViews, batch_of

pytestmark = pytest.mark.unit
SIDE = 16


def drawn(views, batch, seed=0):
    return [view.data for view in PromptViews(views, SIDE)(batch, torch.Generator().manual_seed(seed))]


def test_every_view_is_of_its_own_image(views):
    """Of one colour each: only the MoCo view changes it much."""
    images = torch.tensor([[250, 250, 250], [0, 120, 250], [10, 10, 10]], dtype=torch.uint8)
    images = images[:, :, None, None].expand(3, 3, 20, 20).contiguous()
    plain = views.plain(batch_of(images))[0].data
    original, _, augmix = drawn(views, batch_of(images))
    assert torch.allclose(original, plain, atol=0.03)
    for row in range(3):
        middle = augmix[row].flatten(1).median(dim=1).values
        distance = (plain.mean(dim=(2, 3)) - middle).norm(dim=1)
        assert int(distance.argmin()) == row


def test_the_three_differ_and_the_generator_decides(views, images):
    batch = batch_of(images[:5])
    one, same, other = drawn(views, batch), drawn(views, batch), drawn(views, batch, seed=1)
    assert [view.shape for view in one] == [(5, 3, SIDE, SIDE)] * 3
    assert all(torch.equal(a, b) for a, b in zip(one, same))
    assert not any(torch.equal(a, b) for a, b in zip(one, other))
    assert not torch.equal(one[0], one[1]) and not torch.equal(one[0], one[2])


def test_the_global_generator_is_left_alone(views, images):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    drawn(views, batch_of(images[:2]))
    assert torch.equal(torch.get_rng_state(), before)


def test_raw_images_stay_as_they_are_and_sizes_may_differ(views, images):
    kept = images.clone()
    drawn(views, batch_of(images[:2]))
    assert torch.equal(images, kept)
    unequal = batch_of([images[0], images[1][:, :10, :13]])
    assert isinstance(unequal.data["image"], list)
    assert [view.shape for view in drawn(views, unequal)] == [(2, 3, SIDE, SIDE)] * 3


def test_plain_is_the_encoders_own(views, images):
    batch = batch_of(images[:3])
    assert torch.equal(PromptViews(views, SIDE).plain(batch)[0].data, views.plain(batch)[0].data)


def test_errors(views):
    with pytest.raises(ConfigError, match=r"scale: found \(0.5, 1.5\); allowed: 0 < least <= greatest <= 1"):
        PromptViews(views, SIDE, scale=(0.5, 1.5))
    with pytest.raises(ConfigError, match="severity: found 0; allowed: 1 to 10"):
        PromptViews(views, SIDE, severity=0)
    nothing = Batch({}, torch.arange(0), torch.arange(0))
    with pytest.raises(DataError, match="no image"):
        PromptViews(views, SIDE)(nothing, torch.Generator())
