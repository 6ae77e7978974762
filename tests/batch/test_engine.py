"""Tests of the engine of a batch: what it loads, and how it looks at a plane."""

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.batch.engine import BatchEngine
from napari_spa.batch.task import BatchRecipe
from napari_spa.core.plane import Plane
from napari_spa.core.types import MixtureParameters
from napari_spa.errors import DeviceError, InputError, ModelError, ProfileError
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.engine.view import FieldOfView

FLAT = Plane((0, 1), (0, 0))


@pytest.fixture(scope="module")
def model():
    return make_model()


def profile(identity, tmp_path):
    mixture = MixtureParameters(np.full(16, 1 / 16), np.zeros((16, 5)), np.ones((16, 5)))
    path = tmp_path / "me.json"
    PreferenceProfile(model=identity, mixture=mixture, picks=5, images=2).save(path)
    return path


def test_the_model_of_the_recipe():
    engine = BatchEngine(BatchRecipe(device="cpu"))
    assert engine.identity.name == "spa-tiny"
    assert engine.device.type == "cpu"


@pytest.mark.parametrize(
    ("recipe", "error"),
    [(BatchRecipe(model="no one"), ModelError), (BatchRecipe(device="cuda:99"), DeviceError)],
)
def test_what_is_not_there(recipe, error):
    with pytest.raises(error):
        BatchEngine(recipe)


def test_a_profile_of_another_model_is_refused(model, tmp_path):
    other = ModelIdentity("other", "1" * 64, "both", "mixture", 4)
    with pytest.raises(ProfileError):
        BatchEngine(BatchRecipe(profile=profile(other, tmp_path)), model)


def test_objects_start_from_the_profile_and_teach_it_nothing(model, tmp_path):
    path = profile(model.identity, tmp_path)
    before = path.read_bytes()
    engine, plain = BatchEngine(BatchRecipe(profile=path), model), BatchEngine(BatchRecipe(), model)
    image = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    mixtures = []
    for one in (engine, plain):
        one.show((image,), FLAT)
        one.session.start([(20, 20)])
        mixtures.append(one.session.mixture.means)
    assert not np.array_equal(*mixtures)
    assert path.read_bytes() == before


def test_alpha_is_no_colour(model):
    engine = BatchEngine(BatchRecipe(), model)
    rgba = np.random.default_rng(0).integers(0, 255, (16, 20, 4), dtype=np.uint8)
    source = engine.show((rgba,), FLAT)
    opaque = engine.show((np.dstack([rgba[..., :3], np.full((16, 20), 9, np.uint8)]),), FLAT)
    assert source == opaque
    assert source["look"]["channels"] == (0, 1, 2)
    assert source["look"]["axis"] is None


def test_each_plane_has_grey_values_of_its_own(model):
    engine = BatchEngine(BatchRecipe(), model)
    stack = np.stack([np.arange(400.0).reshape(20, 20), np.arange(400.0).reshape(20, 20) * 9])
    seen = []
    for z in range(2):
        source = engine.show((stack,), Plane((1, 2), (z, 0, 0)))
        assert source["look"]["limits"] is None
        seen.append(engine.session.sampler.read(FieldOfView(0.0, 0.0, 20.0, 20.0), 16))
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-5)


def test_bytes_have_the_limits_they_always_had(model):
    engine = BatchEngine(BatchRecipe(), model)
    image = np.random.default_rng(0).integers(0, 99, (16, 20), dtype=np.uint8)
    assert engine.show((image,), FLAT)["look"]["limits"] == ((0.0, 255.0),)


def test_nothing_to_see(model):
    with pytest.raises(InputError):
        BatchEngine(BatchRecipe(), model).show((np.full((8, 8), np.nan),), FLAT)
