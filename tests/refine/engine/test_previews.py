"""How the pictures of a round are cut."""

import numpy as np

from napari_spa.core.presentation import OUTLINE_COLOUR
from napari_spa.core.types import Candidate, Proposal, Region
from napari_spa.refine.engine.previews import LINE, crops, round_images
from napari_spa.refine.engine.view import ImageSampler

OBJECT = Region(100, 100, 40, 40)
SMALLER, LARGER = Region(110, 110, 20, 20), Region(95, 95, 50, 50)
HUGE, ELSEWHERE = Region(0, 0, 400, 400), Region(300, 300, 40, 40)


def test_masks_that_are_alike_share_one_tight_crop():
    views = crops([OBJECT, SMALLER, LARGER])
    assert len(set(views)) == 1
    assert views[0].height == 1.2 * LARGER.height


def test_a_huge_or_distant_one_does_not_shrink_the_others():
    tight = crops([OBJECT, SMALLER])[0]
    views = crops([OBJECT, SMALLER, HUGE, ELSEWHERE])
    assert views[:2] == [tight, tight]
    for view, box in zip(views[2:], (HUGE, ELSEWHERE), strict=True):
        assert view.height > max(box.height, box.width)
        assert view.row <= OBJECT.row  # the object is in it too: one sees where it is
        assert view.row + view.height >= OBJECT.row + OBJECT.height


def test_blind_crops_do_not_tell_which_mask_is_recommended():
    boxes = [HUGE, OBJECT, SMALLER, LARGER]
    first = dict(zip(boxes, crops(boxes, blind=True), strict=True))
    for turn in range(len(boxes)):
        turned = boxes[turn:] + boxes[:turn]
        assert dict(zip(turned, crops(turned, blind=True), strict=True)) == first


def test_empty_masks_have_a_picture_too():
    nothing = Region(0, 0, 0, 0)
    assert len(set(crops([nothing, nothing]))) == 1
    assert crops([nothing, OBJECT])[1].height > OBJECT.height


def test_the_others_crop_is_framed_in_a_picture_of_more():
    shape, region = (200, 200), Region(0, 0, 200, 200)
    masks = np.zeros((3, *shape), bool)
    masks[0, 90:110, 90:110] = masks[1, 92:108, 92:108] = masks[2, 5:195, 5:195] = True
    probability = masks[0].astype(np.float32)
    candidates = tuple(Candidate(m, masks[0], region, shape, 0.5) for m in masks[1:])
    proposal = Proposal(probability, region, shape, 0.5, 0.1, 1, candidates)
    sampler = ImageSampler(np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))
    recommended, near, far = round_images(sampler, proposal)
    white = (far == OUTLINE_COLOUR).all(axis=-1)
    side = len(far)
    # 1.2 x 20 px of 1.2 x 190, around the middle, dashed.
    rows = np.flatnonzero(white[:, side // 2 - 10 : side // 2 + 10].any(axis=1))
    assert abs(np.ptp(rows) - side * 20 / 190) <= LINE
    assert not white[: side // 4].any()
    assert recommended.shape == near.shape == far.shape
