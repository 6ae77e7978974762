"""A stack that looks like a contrast-enhanced CT of the abdomen."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from sample_stacks import ct_organs as organs
from sample_stacks.ct_trunk import paint_back, paint_ribs, paint_trunk
from sample_stacks.ct_volume import SCALE, Volume
from sample_stacks.fields import Field, detector_noise, step
from sample_stacks.stack import SampleStack, innermost

_PROFILE = (0.16, 0.68, 0.16)  # a slice sees a little of its neighbours: partial volume


def ct_stack(seed: int = 0) -> SampleStack:
    """Make a stack of 40 axial slices, head first, with organs and lesions known."""
    rng = np.random.default_rng(seed)
    volume = Volume(rng)
    trunk = paint_trunk(volume)
    organs.paint_bowel(volume, trunk)
    organs.paint_upper_organs(volume, trunk)
    organs.paint_kidney(volume)
    paint_back(volume, trunk)
    paint_ribs(volume, trunk)
    organs.paint_vessels(volume)
    organs.paint_lesions(volume)
    hu = ndimage.correlate1d(volume.hu, _PROFILE, axis=0, mode="nearest")
    hu += _noise(rng, trunk.depth)
    return SampleStack(
        image=np.clip(np.rint(hu), -1024, 3071).astype(np.int16),
        labels=volume.labels,
        names=dict(organs.NAMES),
        scale=SCALE,
        units="mm",
        contrast_limits=(-160.0, 240.0),
        first_click=innermost(volume.labels, organs.KIDNEY),
    )


def _noise(rng: np.random.Generator, depth: Field) -> Field:
    """Noise in HU: grainy, and stronger where the rays went through more tissue."""
    grain = detector_noise(rng, depth.shape, 0.16, 0.3)
    grain *= np.float32(7) + np.float32(8) * (1 - step(depth - np.float32(45), 90))
    return grain
