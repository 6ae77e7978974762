"""Unit and integration: TinyViT against what is published of it, and MobileSAM in a session."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mobile_sam_checkpoint import PUBLISHED_BYTES, mobile_sam_state, shapes
from torch.nn import functional

from napari_spa.errors import CheckpointError, InputError
from napari_spa.io.models.formats import save_model
from napari_spa.io.models.load import load_model
from napari_spa.model.spa import Spa
from napari_spa.model.tiny_vit import AttentionBlock, TinyVitEncoder
from napari_spa.model.weights import recognise_sam
from napari_spa.refine.session.session import RefinementSession


@pytest.fixture(scope="module")
def state():
    return mobile_sam_state()


@pytest.fixture(scope="module")
def mobile_sam(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(state, path)
    return path


def test_the_listed_tensors_make_a_file_of_the_published_size(mobile_sam) -> None:
    assert mobile_sam.stat().st_size == pytest.approx(PUBLISHED_BYTES, rel=0.002)


def test_names_and_shapes_are_those_published(state) -> None:
    """All but the classifier that is never asked, and counters of training."""
    config, kept = recognise_sam(state)
    ours = {name: tuple(value.shape) for name, value in Spa(config).state_dict().items()}
    assert ours == {name: tuple(value.shape) for name, value in kept.items()}
    left_out = {name for name, _ in shapes()} - ours.keys()
    unused = ("image_encoder.head.", "image_encoder.norm_head.")
    assert all(n.startswith(unused) or n.endswith("num_batches_tracked") for n in left_out)
    assert (config.name, config.encoder, config.image_size) == ("sam-vit-t", "tiny-vit", 1024)
    assert (config.head, config.convention, config.grid) == ("logit", "sam", 64)


def test_at_sams_size_it_gives_sams_embedding() -> None:
    with torch.inference_mode():
        embedding = TinyVitEncoder().eval()(torch.randn(1, 3, 1024, 1024))
    assert embedding.shape == (1, 256, 64, 64)
    assert torch.isfinite(embedding).all()


@pytest.mark.parametrize(("size", "window"), [((14, 14), 7), ((9, 16), 7), ((5, 5), 14)])
@torch.no_grad()
def test_attention_in_windows_is_that_of_each_window(size, window) -> None:
    """One query at a time, with the published order of the biases: by first sight."""
    generator = torch.Generator().manual_seed(0)
    block = AttentionBlock(8, 2, window).eval()
    for value in block.parameters():
        value.copy_(0.5 * torch.randn(value.shape, generator=generator))
    x = torch.randn(1, 8, *size, generator=generator)
    attention = block.attn
    places = [(r, c) for r in range(window) for c in range(window)]
    order: dict[tuple[int, int], int] = {}
    for a in places:
        for b in places:
            order.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(order))
    padded = functional.pad(x[0], (0, -size[1] % window, 0, -size[0] % window))
    expected = torch.zeros_like(padded)
    for top in range(0, padded.shape[1], window):
        for left in range(0, padded.shape[2], window):
            seen = torch.stack([padded[:, top + r, left + c] for r, c in places])
            rows = attention.qkv(attention.norm(seen)).view(-1, 2, 12)
            for i, (r, c) in enumerate(places):
                told = []
                for head in range(2):
                    q, k, v = rows[:, head].split(4, dim=1)
                    bias = [
                        attention.attention_biases[head, order[abs(r - a), abs(c - b)]]
                        for a, b in places
                    ]
                    scores = k @ q[i] / 2 + torch.stack(bias)
                    told.append(scores.softmax(0) @ v)
                expected[:, top + r, left + c] = attention.proj(torch.cat(told))
    ours = block._attend(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours[0], expected[:, : size[0], : size[1]], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [64, 96, 272])
def test_other_input_sizes_need_no_other_weights(mobile_sam, state, size) -> None:
    spa = load_model(mobile_sam, device="cpu", image_size=size).spa
    with torch.inference_mode():
        tokens = spa.encode(torch.randn(1, 3, size, size)).tokens
    assert tokens.shape == (1, 256, size // 16, size // 16)
    name = "image_encoder.layers.2.blocks.5.attn.attention_biases"
    assert torch.equal(spa.state_dict()[name], state[name])


@pytest.mark.parametrize("size", [16, 100, 8192])
def test_impossible_input_sizes_are_one_sentence(mobile_sam, size) -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        load_model(mobile_sam, device="cpu", image_size=size)


def test_it_plays_a_round_in_a_session(mobile_sam) -> None:
    model = load_model(mobile_sam, device="cpu", image_size=128)
    assert (model.layout, model.identity.head) == ("sam", "logit")
    session = RefinementSession(model, seed=0)
    session.set_image(np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8))
    first = session.start(points=[(40, 60)], labels=[1])
    assert first.mask.shape == (90, 120)
    assert 0 < first.mask.sum() < first.mask.size
    assert len(first.candidates) >= 2
    second = session.pick(0)
    assert second.round == 2


def test_batch_statistics_are_used_and_not_moved(mobile_sam) -> None:
    spa = load_model(mobile_sam, device="cpu", image_size=64).spa
    pixels = torch.randn(2, 3, 64, 64)
    before = {name: value.clone() for name, value in spa.image_encoder.named_buffers()}
    with torch.no_grad():
        used = spa.image_encoder(pixels)
        torch.testing.assert_close(spa.train().image_encoder(pixels), used)
    assert all(torch.equal(v, before[n]) for n, v in spa.image_encoder.named_buffers())


def test_its_kin_are_read_too(state, tmp_path) -> None:
    """micro-sam's ViT-T: wrapped and prefixed, or written as ours."""
    kept = {f"sam.{name}": value for name, value in state.items()}
    torch.save({"model_state": kept, "decoder_state": {}}, tmp_path / "vit_t_lm.pt")
    model = load_model(tmp_path / "vit_t_lm.pt", device="cpu", image_size=64)
    assert model.config.encoder == "tiny-vit"
    save_model(model.spa, tmp_path / "own.safetensors", {})
    again = load_model(tmp_path / "own.safetensors", device="cpu")
    assert (again.config.encoder, again.config.image_size) == ("tiny-vit", 64)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", r"lacks image_encoder\.layers\.1\.blocks\.0\.attn\.qkv\.weight"),
        ("larger", r"differs in shape in image_encoder\.layers\.1"),
    ],
)
def test_another_tiny_vit_is_one_sentence(state, tmp_path, change, says) -> None:
    name = "image_encoder.layers.1.blocks.0.attn.qkv.weight"
    other = dict(state)
    if change == "missing":
        del other[name]
    else:
        other[name] = torch.zeros(3 * 192, 192)
    torch.save(other, tmp_path / "tiny.pt")
    with pytest.raises(CheckpointError, match=says):
        load_model(tmp_path / "tiny.pt", device="cpu")
