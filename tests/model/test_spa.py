"""Unit: the network against SAM's own decoder and against its equations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_model import TINY as TINY_MODEL

from napari_spa.model.sam import PairedMaskDecoder, TwoWayTransformer, import_modeling
from napari_spa.model.spa import Conditioner, PaperPriorNetwork, Spa, WeightNetwork

CONV = replace(TINY_MODEL, components=3)
VIT = replace(
    CONV,
    encoder="vit",
    image_size=64,
    vit_dim=32,
    vit_depth=2,
    vit_heads=4,
    vit_global=(1,),
)
LITE = replace(CONV, encoder="efficientnet", image_size=64, prompt_maps=True, extents=True)
POINTS = torch.tensor([[[10.0, 20.0]], [[3.0, 4.0]]])
LABELS = torch.tensor([[1.0], [0.0]])


@torch.no_grad()
def randomised(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for value in module.state_dict().values():
        value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    return module.eval()


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("residual", [True, False])
@torch.no_grad()
def test_the_split_convolution_equals_the_concatenated_one(residual) -> None:
    conditioner = randomised(Conditioner(embed_dim=32, latent_dim=4, residual=residual))
    embedding, latents = random(1, 32, 5, 5), random(7, 4, seed=2)
    split = conditioner(embedding, conditioner.project_image(embedding), latents)
    tiled = latents[:, :, None, None].expand(-1, -1, 5, 5)
    whole = conditioner.layers(torch.cat([embedding.expand(7, -1, -1, -1), tiled], dim=1))
    expected = whole + embedding if residual else whole
    torch.testing.assert_close(split, expected, atol=1e-5, rtol=1e-5)
    assert split.std(0).max() > 1e-2


@torch.no_grad()
def test_the_paired_decoder_equals_sams_own_one_by_one() -> None:
    parts = import_modeling()
    shape = {"depth": 2, "embedding_dim": 32, "mlp_dim": 48, "num_heads": 8}
    sam = randomised(
        parts.MaskDecoder(transformer_dim=32, transformer=parts.TwoWayTransformer(**shape))
    )
    paired = PairedMaskDecoder(transformer_dim=32, transformer=TwoWayTransformer(**shape))
    paired.load_state_dict(sam.state_dict(), strict=True)
    embeddings, sparse = random(6, 32, 4, 4), random(6, 3, 32, seed=2)
    dense, position = random(6, 32, 4, 4, seed=3), random(1, 32, 4, 4, seed=4)
    logits, quality, _ = paired.eval()(embeddings + dense, position, sparse, tokens=(0, 1, 2, 3))
    for n in range(6):
        row = slice(n, n + 1)
        masks, iou = sam.predict_masks(embeddings[row], position, sparse[row], dense[row])
        torch.testing.assert_close(logits[row], masks, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(quality[row], iou, atol=1e-5, rtol=1e-5)
    some, *_ = paired(embeddings + dense, position, sparse, tokens=(2, 0))
    torch.testing.assert_close(some, logits[:, [2, 0]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [CONV, LITE, VIT], ids=["conv", "lite", "vit"])
@torch.no_grad()
def test_shapes_of_encode_and_decode(config) -> None:
    spa = randomised(Spa(config))
    size, grid = config.image_size, config.grid
    image = spa.encode(random(2, 3, size, size))
    assert image.tokens.shape == image.projected.shape == (2, 32, grid, grid)
    if config.encoder != "vit":
        assert [s.shape[1:] for s in image.skips] == [
            (8, 2 * grid, 2 * grid),
            (4, size // 2, size // 2),
        ]
    else:
        assert image.skips == ()
    prompt = spa.embed_prompts(POINTS, LABELS)
    assert prompt.sparse.shape == (2, 2, 32)  # SAM adds a padding point
    means, log_variances = spa.initial_mixture(prompt)
    assert means.shape == log_variances.shape == (2, 3)
    one = spa.embed_prompts(POINTS[:1], LABELS[:1])
    logits, quality = spa.decode(image.row(0), one, random(5, 4), tokens=(0, 3))
    assert logits.shape == (5, 2, 4 * grid, 4 * grid)
    assert quality.shape == (5, 2)
    assert spa.decode(image, prompt)[0].shape == (2, 1, 4 * grid, 4 * grid)


@pytest.mark.parametrize("config", [CONV, LITE, VIT], ids=["conv", "lite", "vit"])
@torch.no_grad()
def test_each_row_is_decoded_as_if_alone(config) -> None:
    spa = randomised(Spa(config))
    image = spa.encode(random(2, 3, config.image_size, config.image_size))
    prompt = spa.embed_prompts(POINTS, LABELS)
    latents = random(6, 4)
    together = spa.decode(
        image.repeat(3),
        prompt.repeat(3),
        latents,
    )[0]
    for n in range(6):
        row = slice(n // 3, n // 3 + 1)
        alone = spa.decode(
            image.row(n // 3),
            type(prompt)(*(part if part is None else part[row] for part in prompt)),
            latents[n : n + 1],
        )[0]
        torch.testing.assert_close(together[n : n + 1], alone, atol=1e-5, rtol=1e-5)
    assert together.std(0).max() > 1e-2


@torch.no_grad()
def test_the_same_call_gives_the_same_bits() -> None:
    spa = randomised(Spa(CONV))
    pixels, latents = random(1, 3, 32, 32), random(4, 4)

    def run() -> torch.Tensor:
        prompt = spa.embed_prompts(POINTS[:1], LABELS[:1])
        return spa.decode(spa.encode(pixels), prompt, latents)[0]

    assert torch.equal(run(), run())


@torch.no_grad()
def test_masks_and_boxes_are_prompts() -> None:
    spa = randomised(Spa(CONV))
    mask, box = random(2, 1, 16, 16), torch.tensor([[1.0, 2.0, 20.0, 22.0]] * 2)
    plain = spa.embed_prompts(POINTS, LABELS)
    masked = spa.embed_prompts(
        POINTS, LABELS, mask_logits=mask, has_mask=torch.tensor([True, False])
    )
    assert not torch.allclose(masked.dense[0], plain.dense[0])
    torch.testing.assert_close(masked.dense[1], plain.dense[1])
    assert spa.embed_prompts(None, None, boxes=box).sparse.shape == (2, 2, 32)
    assert spa.embed_prompts(POINTS, LABELS, boxes=box).sparse.shape == (2, 3, 32)


@torch.no_grad()
def test_hypotheses_are_the_output_tokens_and_may_have_extents() -> None:
    for config in (CONV, LITE):
        spa = randomised(Spa(config))
        image = spa.encode(random(2, 3, config.image_size, config.image_size))
        prompt = spa.embed_prompts(POINTS, LABELS)
        found = spa.decode_hypotheses(image, prompt)
        logits, quality = spa.decode(image, prompt, tokens=(0, 1, 2, 3))
        torch.testing.assert_close(found.logits, logits)
        torch.testing.assert_close(found.quality, quality)
        assert (found.extents is None) == (not config.extents)
    assert found.extents is not None
    assert found.extents.shape == (2, 4, 4)


@torch.no_grad()
def test_prompt_maps_act_where_the_prompt_is() -> None:
    spa = randomised(Spa(LITE))
    clicked = spa.embed_prompts(torch.tensor([[[44.0, 12.0]]]), torch.tensor([[0.0]]))
    padded = spa.embed_prompts(torch.tensor([[[44.0, 12.0]]]), torch.tensor([[-1.0]]))
    assert clicked.fine is not None
    assert padded.fine is not None
    changed = (clicked.fine - padded.fine).abs().sum(1)[0]
    row, column = divmod(int(changed.argmax()), changed.shape[1])
    assert abs(2 * column - 44) <= 3
    assert abs(2 * row - 12) <= 3
    assert changed[:, :8].max() == 0  # far away nothing changes
    box = torch.tensor([[-0.5, 15.5, 31.5, 47.5]])
    inside = spa.prompt_maps.draw(None, None, box)[0, 2] > 0.5
    assert inside[8:24, :16].all()
    assert inside.sum() == 16 * 16


@torch.no_grad()
def test_a_plain_network_has_no_preference_parts() -> None:
    spa = randomised(Spa(replace(VIT, latent_dim=0)))
    prefixes = {name.split(".")[0] for name in spa.state_dict()}
    assert prefixes == {"image_encoder", "prompt_encoder", "mask_decoder"}
    image = spa.encode(random(1, 3, 64, 64))
    assert torch.isfinite(spa.decode(image, spa.embed_prompts(POINTS[:1], LABELS[:1]))[0]).all()


@torch.no_grad()
def test_the_weight_network_gives_weights() -> None:
    network = randomised(WeightNetwork(components=5))
    weights = network(random(3, 5).softmax(dim=1))
    assert weights.shape == (3, 5)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))


@torch.no_grad()
def test_the_papers_prior_averages_the_batch_after_its_rectifier() -> None:
    """Per row: ``relu + 1e-6``, then the mean over the batch."""
    network = randomised(PaperPriorNetwork(embed_dim=32, components=4))
    sparse, position = 9 * random(6, 2, 32), random(1, 32, 4, 4)
    rows = [network(sparse[n : n + 1], position) for n in range(6)]
    variances = torch.cat([log_variances.exp() for _, log_variances in rows])
    assert (variances.min(0).values < 2e-6).any()  # a rectified row, or nothing is tested
    assert (variances.max(0).values > 1e-3).any()
    means, log_variances = network(sparse, position)
    torch.testing.assert_close(means[0], torch.cat([m for m, _ in rows]).mean(0))
    torch.testing.assert_close(log_variances[0].exp(), variances.mean(0))
