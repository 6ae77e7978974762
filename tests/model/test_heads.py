"""Unit tests of the preference heads on a tiny random network."""

import numpy as np
import pytest
import torch

from napari_spa.core.mixture import UpdateConfig
from napari_spa.errors import ModelError
from napari_spa.model.heads import build_head, logit_spread
from napari_spa.model.spa import Spa, SpaConfig


def make_spa(**changes):
    torch.manual_seed(0)
    config = {
        "image_size": 32, "embed_dim": 32, "widths": (8, 16, 32), "depths": (1, 1, 1),
        "layers": 1, "decoder_mlp": 32, "latent_dim": 4,
    } | changes  # fmt: skip
    return Spa(SpaConfig(**config)).eval()


def run(spa, kind, seed=0, count=12):
    head = build_head(spa, kind)
    with torch.inference_mode():
        image = spa.encode(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
        prompt = spa.embed_prompts(torch.tensor([[[16.0, 16.0]]]), torch.ones(1, 1))
        mixture = head.initial(prompt)
        draws = head.draw(mixture, count, np.random.default_rng(seed))
        shares = []
        logits = head.decode(image, prompt, draws, shares.append).logits
    return head, image, prompt, mixture, draws, logits, shares


@pytest.mark.parametrize(("kind", "dimension"), [("latent", 4), ("both", 5), ("logit", 5)])
def test_every_head_speaks_the_same_interface(kind, dimension):
    head, _, _, mixture, draws, logits, shares = run(make_spa(), kind)
    assert mixture.dimension == dimension
    assert draws.latents.shape == (12, dimension)
    assert logits.shape == (12, 16, 16)
    assert logits.dtype == np.float32
    assert shares[-1] == 1.0
    moved = head.update(mixture, mixture, draws.latents[:3], logits[0])
    assert moved.means.shape == mixture.means.shape
    assert moved.weights.sum() == pytest.approx(1)


def test_latent_samples_equal_one_by_one_decoding():
    spa = make_spa()
    _, image, prompt, _, draws, logits, _ = run(spa, "latent")
    with torch.inference_mode():
        for n in (0, 5, 11):
            z = torch.from_numpy(draws.latents[n : n + 1]).float()
            single, _ = spa.decode(image, prompt, z)
            np.testing.assert_allclose(logits[n], single[0, 0], atol=1e-5)


def test_chunks_side_by_side_give_what_chunks_in_turn_do(monkeypatch):
    monkeypatch.setattr("napari_spa.model.heads.chunk_size", lambda spa: 5)
    spa, before, found = make_spa(), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            *_, logits, shares = run(spa, "both")
            assert shares == [1 / 3, 2 / 3, 1.0]
            found.append(logits)
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_both_is_the_latent_head_with_its_boundary_shifted():
    spa = make_spa()
    _, image, prompt, _, draws, logits, _ = run(spa, "both")
    with torch.inference_mode():
        plain, _ = spa.decode(image, prompt, torch.from_numpy(draws.latents[:, :4]).float())
    shift = torch.from_numpy(draws.latents[:, 4]).float() * logit_spread(plain[:, 0])
    np.testing.assert_allclose(logits, plain[:, 0] + shift[:, None, None], atol=1e-5)


def test_samples_of_a_component_share_a_shape_and_differ_in_their_offset(monkeypatch):
    spa = make_spa()
    head, image, prompt, mixture, _, _, _ = run(spa, "both")
    thrifty = build_head(spa, "both", reuse=2)
    draws = thrifty.draw(mixture, 3 * mixture.components, np.random.default_rng(0))
    shapes, times = np.unique(draws.latents[:, :-1], axis=0, return_counts=True)
    assert sorted(times) == [1] * mixture.components + [2] * mixture.components  # three of each
    assert len(np.unique(draws.latents[:, -1])) == 3 * mixture.components
    decoded, decode = [], spa.decode
    monkeypatch.setattr(spa, "decode", lambda *a: decoded.append(len(a[2])) or decode(*a))
    found = thrifty.decode(image, prompt, draws, lambda share: None)
    assert sum(decoded) == len(shapes)
    np.testing.assert_allclose(
        found.logits, head.decode(image, prompt, draws, lambda share: None).logits, atol=1e-5
    )
    alone = build_head(spa, "latent", reuse=2).draw(mixture, 12, np.random.default_rng(0))
    assert len(np.unique(alone.latents, axis=0)) == 12  # nothing else tells them apart


def test_logit_head_decodes_once_and_shifts_the_tokens(monkeypatch):
    spa = make_spa()
    calls = []
    decode = spa.decode
    monkeypatch.setattr(spa, "decode", lambda *a, **k: calls.append(k) or decode(*a, **k))
    _, image, prompt, _, draws, logits, _ = run(spa, "logit")
    assert len(calls) == 1
    with torch.inference_mode():
        tokens, _ = decode(image, prompt, None, tokens=range(4))
    chosen = draws.latents[:, 1:].argmax(1)
    for n in (0, 6, 11):
        difference = logits[n] - tokens[0, chosen[n]].numpy()
        assert difference.std() < 1e-5  # one offset for the whole map
    assert set(chosen) == {0, 1, 2, 3}


def test_logit_head_keeps_its_tokens_through_updates():
    head, *_, mixture, draws, logits, _ = (
        run(make_spa(), "logit")[0:1] + run(make_spa(), "logit")[3:]
    )
    moved = head.update(mixture, mixture, draws.latents[:2], logits[0])
    np.testing.assert_array_equal(moved.means[:, 1:], mixture.means[:, 1:])
    token = draws.latents[0, 1:].argmax()
    assert moved.weights[mixture.means[:, 1:].argmax(1) == token].sum() > (
        mixture.weights[mixture.means[:, 1:].argmax(1) == token].sum()
    )


def test_a_network_without_a_latent_has_only_the_logit_head():
    spa = make_spa(latent_dim=0)
    assert run(spa, "logit")[5].shape == (12, 16, 16)
    with pytest.raises(ModelError, match="logit"):
        build_head(spa, "both")


def test_pixel_responsibilities_go_through_the_weight_network():
    vit = {"encoder": "vit", "vit_dim": 16, "vit_depth": 1, "vit_heads": 2, "vit_global": (0,)}
    spa = make_spa(convention="paper", **vit)
    head, _, _, mixture, draws, logits, _ = run(spa, "latent")
    moved = head.update(mixture, mixture, draws.latents[:2], logits[0])
    np.testing.assert_array_equal(moved.means, mixture.means)
    assert not np.allclose(moved.weights, mixture.weights)


def test_stronger_prior_moves_less():
    spa = make_spa()
    _, _, _prompt, mixture, draws, logits, _ = run(spa, "both")
    shift = []
    for strength in (0.1, 10.0):
        head = build_head(spa, "both", update=UpdateConfig(mean_strength=strength))
        moved = head.update(mixture, mixture, draws.latents[:3], logits[0])
        shift.append(np.abs(moved.means - mixture.means).mean())
    assert shift[0] > 3 * shift[1]
