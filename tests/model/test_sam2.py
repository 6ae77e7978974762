"""Unit and integration: SAM 2's encoder and decoder, and its files in a session."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sam2_checkpoint import sam2_content, shapes
from torch import nn

from napari_spa.errors import CheckpointError, InputError
from napari_spa.io.models.load import load_model
from napari_spa.model.hiera import VARIANTS, Block, Neck, Trunk, Variant
from napari_spa.model.sam import Sam2MaskDecoder, TwoWayTransformer
from napari_spa.model.spa import Spa
from napari_spa.model.weights import recognise_sam2
from napari_spa.refine.session.session import RefinementSession

SMALL = Variant("mini", (1, 1, 2, 1), 1, (8, 4, 6, 3), (3,), 7)


@pytest.fixture
def small_file(tmp_path, monkeypatch):
    """Write a file of the published layout, but small."""
    monkeypatch.setitem(VARIANTS, (16, 5), SMALL)
    path = tmp_path / "sam2.1_hiera_mini.pt"
    torch.save(sam2_content(16, SMALL.stages), path)
    return path


@pytest.mark.parametrize(
    ("name", "width", "stages", "background"),
    [
        ("tiny", 96, (1, 2, 7, 2), 7),
        ("small", 96, (1, 2, 11, 2), 7),
        ("base-plus", 112, (2, 3, 16, 3), 14),
        ("large", 144, (2, 6, 36, 4), 7),
    ],
)
def test_every_published_size_is_recognised_whole(name, width, stages, background) -> None:
    """All names and shapes, on the meta device; what serves videos alone is left out."""
    listed = dict(shapes(width, stages, background, 8))
    tensors = {n: torch.empty(shape, device="meta") for n, shape in listed.items()}
    config, state = recognise_sam2(tensors)
    with torch.device("meta"):
        expected = Spa(config).state_dict()
    assert {n: v.shape for n, v in state.items()} == {n: v.shape for n, v in expected.items()}
    assert (config.name, config.image_size) == (f"sam2-hiera-{name}", 1024)
    assert (config.convention, config.head, config.grid) == ("sam2", "logit", 64)


@pytest.mark.parametrize(("window", "size"), [(4, (8, 8)), (4, (6, 10)), (0, (4, 6))])
@torch.no_grad()
def test_a_block_that_begins_a_stage_pools_what_it_asks_with(window, size) -> None:
    """One window and one head at a time, from the equations of the papers."""
    generator = torch.Generator().manual_seed(0)
    block = Block(8, 16, 2, window, pooled=True).eval()
    for value in block.parameters():
        value.copy_(0.5 * torch.randn(value.shape, generator=generator))
    x = torch.randn(1, *size, 8, generator=generator)
    rows, columns = window or size[0], window or size[1]
    normed = block.norm1(x)[0]
    told = torch.zeros(size[0] // 2, size[1] // 2, 16)
    for top in range(0, size[0], rows):
        for left in range(0, size[1], columns):
            seen = torch.zeros(rows, columns, 8)
            part = normed[top : top + rows, left : left + columns]
            seen[: part.shape[0], : part.shape[1]] = part
            q, k, v = block.attn.qkv(seen).split(16, dim=-1)
            for r in range(rows // 2):
                for c in range(columns // 2):
                    if top // 2 + r >= told.shape[0] or left // 2 + c >= told.shape[1]:
                        continue
                    asked = q[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].amax((0, 1))
                    heads = []
                    for h in (slice(0, 8), slice(8, 16)):
                        keys, values = k.reshape(-1, 16)[:, h], v.reshape(-1, 16)[:, h]
                        share = (keys @ asked[h] / 8**0.5).softmax(0)
                        heads.append(share @ values)
                    told[top // 2 + r, left // 2 + c] = block.attn.proj(torch.cat(heads))
    short = block.proj(normed).unfold(0, 2, 2).unfold(1, 2, 2).amax((-1, -2))
    expected = short + told
    expected = expected + block.mlp(block.norm2(expected))
    torch.testing.assert_close(block(x)[0], expected, atol=1e-5, rtol=1e-4)


def test_windows_and_whole_blocks_are_where_they_were_published() -> None:
    trunk = Trunk(96, VARIANTS[96, 12])
    assert [block.window for block in trunk.blocks] == [8, 8, 4, 4, 14, 0, 14, 0, 14, 0, 14, 7]
    assert [block.attn.heads for block in trunk.blocks] == [1, 2, 2, *(7 * [4]), 8, 8]
    assert [n for n, block in enumerate(trunk.blocks) if block.pooled] == [1, 3, 10]


@torch.no_grad()
def test_only_stride_16_gets_what_is_above_it() -> None:
    neck = Neck((2, 4, 8, 16), 3)
    stages = [torch.zeros(1, 16 >> n, 16 >> n, 2 << n) for n in range(4)]
    plain = [x.clone() for x in neck(stages)]
    stages[3][0, 1, 0] = 1.0
    changed = neck(stages)
    moved = [(a - b).abs().sum(dim=(0, 1)) for a, b in zip(changed, plain, strict=True)]
    assert moved[0][2:, :2].min() > 0
    assert moved[0][:2].max() == moved[0][:, 2:].max() == 0
    assert moved[1].max() == moved[2].max() == 0


@torch.no_grad()
def test_its_decoder_has_one_more_token_and_adds_skips_before_the_norm() -> None:
    transformer = TwoWayTransformer(depth=1, embedding_dim=32, mlp_dim=16, num_heads=2)
    decoder = Sam2MaskDecoder(
        transformer_dim=32, transformer=transformer, skip_channels=(32, 32)
    ).eval()
    skips = (torch.randn(1, 8, 8, 8), torch.randn(1, 4, 16, 16))
    arguments = (torch.randn(2, 32, 4, 4), torch.randn(1, 32, 4, 4), torch.randn(2, 3, 32))
    logits, quality, _ = decoder(*arguments, skips=skips, tokens=(0, 2))
    own = (decoder.obj_score_token, decoder.iou_token, decoder.mask_tokens)
    tokens = torch.cat([part.weight for part in own]).expand(2, -1, -1)
    asked = torch.cat([tokens, arguments[2]], dim=1)
    hidden, source = transformer(arguments[0], arguments[1].expand(2, -1, -1, -1), asked)
    up = decoder.output_upscaling
    coarse = nn.functional.gelu(up[1](up[0](source.transpose(1, 2).view(2, 32, 4, 4)) + skips[0]))
    fine = nn.functional.gelu(up[3](coarse) + skips[1])
    for place, token in enumerate((0, 2)):
        weights = decoder.output_hypernetworks_mlps[token](hidden[:, 2 + token])
        expected = torch.einsum("nc,nchw->nhw", weights, fine)
        torch.testing.assert_close(logits[:, place], expected, atol=1e-5, rtol=1e-4)
    expected = decoder.iou_prediction_head(hidden[:, 1]).sigmoid()[:, [0, 2]]
    torch.testing.assert_close(quality, expected)


def test_its_file_plays_a_round_in_a_session(small_file) -> None:
    model = load_model(small_file, device="cpu", image_size=96)
    assert (model.layout, model.config.name) == ("sam", "sam2.1_hiera_mini")
    session = RefinementSession(model, seed=0)
    session.set_image(np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8))
    first = session.start(points=[(40, 60)], labels=[1])
    assert first.mask.shape == (90, 120)
    assert len(first.candidates) >= 2
    assert session.pick(0).round == 2


def test_an_image_without_memory_says_so_in_its_embedding(small_file) -> None:
    spa = load_model(small_file, device="cpu", image_size=64).spa
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        coarse, *_ = spa.image_encoder.neck(spa.image_encoder.trunk(pixels))
        told = spa.encode(pixels).tokens - coarse
    torch.testing.assert_close(
        told, spa.image_encoder.no_mem_embed.view(1, -1, 1, 1).expand_as(told)
    )


@pytest.mark.parametrize("size", [48, 32, 8192])
def test_impossible_input_sizes_are_one_sentence(small_file, size) -> None:
    with pytest.raises(InputError, match="multiple of 32"):
        load_model(small_file, device="cpu", image_size=size)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("other", "no published size"),
        ("no tokens", r"lacks mask_decoder\.mask_tokens\.weight"),
        ("no window", r"lacks image_encoder\.trunk\.pos_embed_window"),
        ("foreign", r"unknown image_encoder\.trunk\.adapter"),
    ],
)
def test_another_sam_2_is_one_sentence(small_file, tmp_path, monkeypatch, change, says) -> None:
    content = sam2_content(16, SMALL.stages)
    state = content["model"]
    if change == "other":
        monkeypatch.delitem(VARIANTS, (16, 5))
    elif change == "no tokens":
        del state["sam_mask_decoder.mask_tokens.weight"]
    elif change == "no window":
        del state["image_encoder.trunk.pos_embed_window"]
    else:
        state["image_encoder.trunk.adapter.weight"] = torch.zeros(2)
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=says):
        load_model(tmp_path / "odd.pt", device="cpu")
