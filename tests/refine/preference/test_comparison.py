"""Where two profiles disagree: what a session would recommend with the one and the other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.core.measures import dice
from napari_spa.core.types import Click, LocalMask, MixtureParameters, Prompts
from napari_spa.errors import Cancelled, InputError, ProfileError
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.engine.image_plane import ImagePlane
from napari_spa.refine.preference import compare, disagree, in_words
from napari_spa.refine.session.session import RefinementSession

PROMPTS = Prompts((Click(35, 45), Click(5, 5, 0)))


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def session(model):
    return RefinementSession(model)


@pytest.fixture(scope="module")
def image():
    image = np.random.default_rng(0).integers(0, 80, (70, 90)).astype(np.uint8)
    image[20:50, 30:60] += 120
    return image


@pytest.fixture(scope="module")
def people(model, image):
    """Two people who picked differently on the same object."""

    def play(which: int, name: str) -> PreferenceProfile:
        session = RefinementSession(model)
        session.set_image(image)
        proposal = session.start(points=[(35, 45)])
        for _ in range(4):
            proposal = session.pick(which % len(proposal.candidates))
        return replace(session.accept().profile, name=name)

    return play(-1, "Loose"), play(0, "Tight")


def test_the_masks_are_those_of_two_sessions(model, image, people) -> None:
    found = disagree(RefinementSession(model, seed=3), image, PROMPTS, *people)
    for mask, profile in zip((found.first_mask, found.second_mask), people, strict=True):
        session = RefinementSession(model, profile, seed=3)
        session.set_image(image)
        points, labels = [(c.row, c.column) for c in PROMPTS.clicks], [1, 0]
        np.testing.assert_array_equal(session.start(points, labels).mask, mask)
    assert found.only_first.any() or found.only_second.any()
    assert found.first_mask.shape == found.only_first.shape == image.shape
    np.testing.assert_array_equal(
        found.only_first | found.only_second, found.first_mask ^ found.second_mask
    )
    assert found.dice == dice(found.first_mask, found.second_mask) < 1


def test_one_with_itself_agrees(session, image, people) -> None:
    found = disagree(session, image, PROMPTS, people[0], people[0])
    assert found.dice == 1
    assert not found.only_first.any()
    assert not found.only_second.any()


def test_the_order_only_swaps_the_sides(session, image, people) -> None:
    one, other = (disagree(session, image, PROMPTS, *pair) for pair in (people, people[::-1]))
    np.testing.assert_array_equal(one.only_first, other.only_second)
    np.testing.assert_array_equal(one.only_second, other.only_first)


def test_an_empty_profile_is_the_model_alone(session, model, image) -> None:
    found = disagree(session, image, PROMPTS, PreferenceProfile.empty(model.identity), None)
    assert found.dice == 1


def test_a_picture_and_a_rough_mask_do_too(session, model, image, people) -> None:
    rough = LocalMask.crop(image > 100)
    plain = disagree(session, image, Prompts(mask=rough), *people)
    from_plane = disagree(session, ImagePlane.of(image), Prompts(mask=rough), *people)
    np.testing.assert_array_equal(plain.first_mask, from_plane.first_mask)
    np.testing.assert_array_equal(plain.second_mask, from_plane.second_mask)
    alone = RefinementSession(model, people[0])
    alone.set_image(image)
    np.testing.assert_array_equal(alone.start(mask=image > 100).mask, plain.first_mask)


def test_it_can_be_cancelled_and_refused(session, model, image, people) -> None:
    def stop(share: float, message: str) -> None:
        raise Cancelled("stopped.")

    with pytest.raises(Cancelled):
        disagree(session, image, PROMPTS, *people, progress=stop)
    stranger = replace(people[1], model=replace(model.identity, sha256="f" * 64))
    with pytest.raises(ProfileError, match="'Tight' was made with"):
        disagree(session, image, PROMPTS, people[0], stranger)
    with pytest.raises(InputError):
        disagree(session, np.empty((0, 3)), PROMPTS, *people)
    with pytest.raises(InputError, match="lies outside"):
        disagree(session, image, Prompts((Click(700, 3),)), *people)


def _person(model, **known: object) -> PreferenceProfile:
    mixture = MixtureParameters(np.ones(1), np.zeros((1, 5)), np.full((1, 5), 0.25))
    return replace(PreferenceProfile(model.identity, mixture, 9, 3, name="x"), **known)


def test_sizes_in_figures_and_words(model) -> None:
    ana = _person(model, objects=4, log_growth=4 * math.log(1.2))
    ben = _person(model, objects=2, log_growth=0.0)
    assert compare(ana, ben) == pytest.approx(0.2)
    assert in_words(compare(ana, ben), ("Ana", "Ben")) == "Ana draws 20 % larger than Ben."
    assert compare(ben, ana) == pytest.approx(1 / 1.2 - 1)
    assert compare(ana, ana) == 0
    assert in_words(compare(ana, ana), ("A", "B")) == "A draws about as large as B."
    assert compare(ana, _person(model)) is None
    assert "Nothing is known" in in_words(None, ("A", "B"))
