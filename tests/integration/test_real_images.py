"""spa-tiny on real images: one click, first round, against outlines drawn by eye.

How the outlines were drawn is written in ``tests/data/outlines.json``.
"""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data

import napari_spa
from napari_spa.core.measures import dice


@pytest.fixture(scope="module")
def model():
    return napari_spa.load_model("spa-tiny", device="cpu")


def first_rounds(model, image, point):
    session = napari_spa.RefinementSession(model, seed=0)
    session.set_image(image)
    return session.start(points=[point])


def scores(model, name, outlines, *, innermost_only=False):
    image = getattr(data, name)()
    found = {}
    for outline in outlines(name):
        points = [outline.innermost]
        if not innermost_only:
            points += list(outline.points)
        found[outline.name] = [
            dice(first_rounds(model, image, p).mask, outline.mask) for p in points
        ]
    return found


def test_the_latent_is_a_space_in_which_picks_can_move(model):
    point = torch.full((1, 1, 2), 64.0)
    prompt = model.spa.embed_prompts(point, torch.ones(1, 1))
    means, log_variances = model.spa.initial_mixture(prompt)
    deviations = (0.5 * log_variances).exp()
    assert means.abs().max() < 6
    assert means.sort().values.diff().mean() < deviations.mean()  # components overlap


def test_the_optic_disc_from_a_point_anywhere_in_it(model, outlines):
    (disc,) = outlines("retina")
    found, wholes = [], 0
    for point in (disc.innermost, *disc.points):
        shown = first_rounds(model, data.retina(), point)
        assert ndimage.label(shown.mask)[1] == 1
        found.append(dice(shown.mask, disc.mask))
        areas = [candidate.mask.sum() for candidate in shown.candidates]
        assert min(areas) < 0.8 * shown.area  # a part of it
        wholes += max(areas) > 1.2 * shown.area  # and what it is a part of
    assert min(found) >= 0.88
    assert wholes >= 3


def test_no_mask_on_offer_has_crumbs_or_pinholes(model, outlines):
    session = napari_spa.RefinementSession(model, seed=0)
    session.set_image(data.retina())
    shown = session.start(points=[outlines("retina")[0].innermost])
    for pick in (0, 3, 1):
        for mask in (shown.mask, *(candidate.mask for candidate in shown.candidates)):
            for part in (mask, ~mask):
                sizes = np.bincount(ndimage.label(part)[0].ravel())[1:]
                assert sizes.min() >= 0.01 * mask.sum()
        shown = session.pick(pick)


def test_the_cell(model, outlines):
    found = scores(model, "cell", outlines)
    assert min(found["cell"]) >= 0.85


def test_ten_coins(model, outlines):
    found = scores(model, "coins", outlines, innermost_only=True)
    assert len(found) == 10
    assert np.mean([d for row in found.values() for d in row]) >= 0.90


def test_ten_nuclei(model, outlines):
    first, best = [], []
    for outline in outlines("immunohistochemistry"):
        shown = first_rounds(model, data.immunohistochemistry(), outline.innermost)
        first.append(dice(shown.mask, outline.mask))
        best.append(max(first[-1], *(dice(c.mask, outline.mask) for c in shown.candidates)))
    assert len(first) == 10
    assert sorted(first)[3] >= 0.8  # a click on three of the ten means the gland that they lie in
    assert min(best) >= 0.65  # their nuclei are among the candidates
    assert np.mean(best) >= 0.85


def test_candidates_differ_and_a_round_learns(model):
    session = napari_spa.RefinementSession(model, seed=0)
    session.set_image(data.coins())
    proposal = session.start(points=[(150, 195)])
    assert len(proposal.candidates) == 4
    areas = [c.mask.sum() for c in proposal.candidates]
    assert areas[-1] > 1.1 * areas[0]
    largest, before = proposal.candidates[-1].mask, proposal.mask
    proposal = session.pick(len(proposal.candidates) - 1)
    assert dice(proposal.mask, largest) > dice(before, largest)
    proposal = session.pick(len(proposal.candidates) - 1)
    assert proposal.mask.sum() > before.sum()
