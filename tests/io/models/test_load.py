"""Integration: every layout of weights file through ``load_model``, against references."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from paper_checkpoint import PaperReference, paper_content
from safetensors.torch import save_file

from napari_spa.core.types import LocalMask
from napari_spa.errors import CheckpointError, InputError, ModelError
from napari_spa.io.models import registry
from napari_spa.io.models.formats import save_model
from napari_spa.io.models.load import describe, import_model, load_model
from napari_spa.io.models.registry import list_models
from napari_spa.model.heads import build_head
from napari_spa.model.spa import Spa, SpaConfig
from napari_spa.refine.annotation.propagation import PropagationConfig, expected_dice, propagate
from napari_spa.refine.session.session import RefinementSession

POINT = (torch.tensor([[[20.0, 33.0]]]), torch.tensor([[1.0]]))


def _pixels(size: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def _logits(spa: Spa, pixels: torch.Tensor, tokens=(0, 1, 2, 3)) -> torch.Tensor:
    return spa.decode(spa.encode(pixels), spa.embed_prompts(*POINT), tokens=tokens)[0]


@torch.no_grad()
def _sam_logits(sam, pixels: torch.Tensor) -> torch.Tensor:
    sparse, dense = sam.prompt_encoder(points=POINT, boxes=None, masks=None)
    return sam.mask_decoder.predict_masks(
        sam.image_encoder(pixels), sam.prompt_encoder.get_dense_pe(), sparse, dense
    )[0]


# -- SAM family ---------------------------------------------------------------


@pytest.mark.parametrize(
    "layout", ["plain", "safetensors", "wrapped", "prefixed", "parallel", "decoder", "buffers"]
)
def test_sam_family_files_give_sams_own_masks(make_sam, tmp_path, layout) -> None:
    sam = make_sam()
    state = sam.state_dict()
    path = tmp_path / ("model.safetensors" if layout == "safetensors" else "model.pt")
    decoder = {"decoder.conv.weight": torch.zeros(2)}
    buffers = {"pixel_mean": sam.pixel_mean, "pixel_std": sam.pixel_std}
    content = {
        "plain": state,
        "wrapped": {"model_state": state, "decoder_state": decoder, "epoch": 3},
        "prefixed": {"model_state": OrderedDict((f"sam.{n}", t) for n, t in state.items())},
        "parallel": {f"module.{n}": t for n, t in state.items()},
        "decoder": state | decoder,
        "buffers": state | buffers,
    }
    if layout == "safetensors":
        save_file(state, path)
    else:
        torch.save(content[layout], path)
    model = load_model(path, device="cpu")
    assert model.layout == "sam"
    assert not model.spa.training
    pixels = _pixels(64)
    torch.testing.assert_close(
        _logits(model.spa, pixels), _sam_logits(sam, pixels), atol=1e-5, rtol=1e-5
    )


def test_a_sam_files_configuration_is_read_off_its_tensors(sam_file) -> None:
    config = load_model(sam_file, device="cpu").config
    assert config == SpaConfig(
        name="little_sam",
        encoder="vit",
        image_size=64,
        embed_dim=32,
        vit_dim=32,
        vit_depth=4,
        vit_heads=4,
        vit_global=(1, 3),
        decoder_mlp=48,
        multimask_outputs=3,
        latent_dim=0,
        head="logit",
        convention="sam",
    )


def test_an_object_is_followed_with_a_sam_whose_calibration_is_not_known(sam_file) -> None:
    session = RefinementSession(load_model(sam_file, device="cpu"))
    rows, columns = np.indices((64, 64))
    disc = np.hypot(rows - 30, columns - 34) < 12
    image = np.stack([(60 + 120 * disc).astype(np.uint8)] * 3)
    config = PropagationConfig(uncertainty=1.0, overlap=0.0, max_area_ratio=1e9)
    walk = propagate(
        session, image.__getitem__, [1, 2], LocalMask.crop(disc), start=0, config=config
    )
    found = list(walk)
    assert found
    for number, each in enumerate(found, start=1):
        assert not each.proposal.calibrated
        worst = min(expected_dice(one.signs) for one in found[:number])
        assert each.proposal.uncertainty == pytest.approx(1 - worst)


def test_half_precision_sam_files_become_float32(make_sam, tmp_path) -> None:
    state = {name: value.half() for name, value in make_sam().state_dict().items()}
    torch.save(state, tmp_path / "half.pth")
    spa = load_model(tmp_path / "half.pth", device="cpu").spa
    assert {value.dtype for value in spa.state_dict().values()} == {torch.float32}
    assert torch.equal(
        spa.state_dict()["mask_decoder.iou_token.weight"].half(),
        state["mask_decoder.iou_token.weight"],
    )


def test_loading_draws_no_random_numbers(sam_file) -> None:
    before = torch.get_rng_state()
    load_model(sam_file, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_another_image_size_resizes_the_positions(sam_file) -> None:
    model = load_model(sam_file, device="cpu", image_size=96)
    assert model.config.image_size == 96
    assert model.config.grid == 6
    position = model.spa.image_encoder.pos_embed
    assert position.shape == (1, 6, 6, 32)
    table = model.spa.image_encoder.blocks[1].attn.rel_pos_h
    assert table.shape == (11, 8)
    assert model.spa.image_encoder.blocks[0].attn.rel_pos_h.shape == (27, 8)
    logits = _logits(model.spa, _pixels(96))
    assert logits.shape == (1, 4, 24, 24)
    assert torch.isfinite(logits).all()


def test_relative_positions_of_another_length_act_as_in_sam(make_sam, tmp_path) -> None:
    """Many fine-tuned files keep the 1024 px tables; SAM resizes them at every image."""
    sam = make_sam()
    for block in (1, 3):
        for axis in ("rel_pos_h", "rel_pos_w"):
            attention = sam.image_encoder.blocks[block].attn
            table = torch.randn(127, 8, generator=torch.Generator().manual_seed(block))
            setattr(attention, axis, torch.nn.Parameter(table))
    torch.save(sam.state_dict(), tmp_path / "tables.pth")
    spa = load_model(tmp_path / "tables.pth", device="cpu").spa
    pixels = _pixels(64)
    torch.testing.assert_close(_logits(spa, pixels), _sam_logits(sam, pixels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [0, -16, 16, 100, 1 << 20, 64.0, True, "64"])
def test_impossible_image_sizes_are_one_sentence(sam_file, size) -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        load_model(sam_file, device="cpu", image_size=size)


# -- the paper's public code ---------------------------------------------------


CLICK = (torch.tensor([[20.0, 33.0], [51.0, 7.0]]), torch.tensor([1, 0]))


@pytest.fixture(params=[64, 256])
def paper(request, tmp_path):
    """Return a loaded checkpoint and the reference; at 256 px tokens are more than a window."""
    content = paper_content(request.param)
    path = tmp_path / "checkpoint_best.pth"
    torch.save(content, path)
    model = load_model(path, device="cpu")
    return model, PaperReference(content["state_dict"], request.param), content


@torch.no_grad()
def test_paper_checkpoints_give_the_same_samples_for_the_same_z(paper) -> None:
    model, reference, content = paper
    size = model.config.image_size
    assert size == reference.size
    pixels = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(3))
    pi = reference.weights(torch.tensor(content["EM_weights"], dtype=torch.float32))
    mu, variance = reference.means_and_variances(*CLICK)
    noise = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    draws = [reference.latent(pi, mu, variance, e) for e in noise]
    embedding = reference.encode(pixels)
    expected = torch.stack([reference.logits(embedding, *CLICK, z) for z in draws])

    image = model.spa.encode(pixels)
    prompt = model.spa.embed_prompts(*(values[None] for values in CLICK))
    head = build_head(model.spa, "latent", start=model.initial_mixture)
    mixture = head.initial(prompt)
    rng = SimpleNamespace(standard_normal=lambda shape: noise.double().numpy())
    drawn = head.draw(mixture, 5, rng)
    logits = torch.from_numpy(head.decode(image, prompt, drawn, lambda share: None).logits)

    torch.testing.assert_close(image.tokens, embedding, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(mixture.weights, pi, atol=1e-6)
    for channel in (0, 63):
        np.testing.assert_allclose(mixture.means[:, channel], mu, atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(mixture.variances[:, channel], variance, atol=1e-4, rtol=1e-5)
    np.testing.assert_allclose(drawn.latents, torch.stack(draws), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(logits > 0, expected > 0)
    assert logits.std(0).max() > 0.1  # the samples do differ


def test_a_session_reads_such_a_checkpoint_as_its_code_does(paper) -> None:
    """Squashed [0, 1] pixels, (row, column), the mean of the logits over one half."""
    model, reference, _ = paper
    size = reference.size
    grey = np.random.default_rng(5).integers(0, 255, (size, size, 3)).astype(np.uint8)
    session = RefinementSession(model, seed=3)
    session.set_image(grey)
    seen = []
    decode = model.spa.decode
    model.spa.decode = lambda *a, **k: seen.append((a[2], decode(*a, **k))) or seen[-1][1]
    proposal = session.start(points=[(20, 33)], labels=[1])
    latents = torch.cat([z for z, _ in seen])
    ours = torch.cat([logits[:, 0] for _, (logits, _) in seen])
    with torch.no_grad():
        embedding = reference.encode(torch.from_numpy(grey).movedim(-1, 0)[None] / 255)
        click = (torch.tensor([[20.0, 33.0]]), torch.tensor([1]))
        expected = torch.stack([reference.logits(embedding, *click, z) for z in latents[:6]])
    torch.testing.assert_close(ours[:6], expected, atol=2e-4, rtol=1e-3)
    mean = ours.mean(0)[None, None]
    full = torch.nn.functional.interpolate(mean.sigmoid(), (size, size), mode="bilinear")
    chosen = full[0, 0] > torch.tensor(0.5).sigmoid()
    assert (proposal.mask == chosen.numpy()).mean() > 0.99


def test_what_the_papers_code_does_is_declared(paper) -> None:
    model, *_ = paper
    assert model.config.convention == "paper"
    assert model.layout == "paper"
    assert (model.identity.head, model.identity.sampler) == ("latent", "weighted-sum")
    assert (model.config.latent_dim, model.config.components) == (64, 16)


def test_the_saved_mixture_is_kept(paper) -> None:
    model, _, content = paper
    mixture = model.initial_mixture
    np.testing.assert_allclose(mixture.weights, content["EM_weights"], rtol=1e-12)
    assert mixture.means.shape == mixture.variances.shape == (16, 64)
    for column in (0, 63):
        np.testing.assert_array_equal(mixture.means[:, column], content["EM_means"])
        np.testing.assert_array_equal(mixture.variances[:, column], content["EM_variances"])


@pytest.mark.parametrize("change", ["module.", "no arrays", "tensors", "one token"])
def test_variants_of_paper_checkpoints(tmp_path, change) -> None:
    content = paper_content()
    state = content["state_dict"]
    names = ("EM_weights", "EM_means", "EM_variances")
    if change == "module.":  # saved from several GPUs
        content["state_dict"] = {f"module.{n}": t for n, t in state.items()}
    elif change == "no arrays":
        content = {n: v for n, v in content.items() if n not in names}
    elif change == "tensors":
        content |= {n: torch.tensor(content[n]) for n in names}
    else:  # its option multimask_output sets the number of tokens
        for n in [n for n in state if "hypernetworks_mlps.2" in n or "hypernetworks_mlps.3" in n]:
            del state[n]
        for n in [n for n in state if "mask_tokens" in n or "prediction_head.layers.2" in n]:
            state[n] = state[n][:2]
    torch.save(content, tmp_path / "variant.pth")
    model = load_model(tmp_path / "variant.pth", device="cpu")
    assert (model.initial_mixture is None) == (change == "no arrays")
    assert model.config.multimask_outputs == (1 if change == "one token" else 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EM_variances", np.zeros(16)),
        ("EM_weights", -np.ones(16)),
        ("EM_means", np.full(16, np.nan)),
        ("EM_means", np.zeros(3)),
        ("EM_means", "none"),
        ("EM_means", None),
    ],
)
def test_a_saved_mixture_that_is_none_is_refused(tmp_path, name, value) -> None:
    torch.save(paper_content() | {name: value}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match="EM_weights"):
        load_model(tmp_path / "odd.pth", device="cpu")


# -- our own files --------------------------------------------------------------


def test_training_checkpoints_load_with_their_averaged_weights(tiny_spa, tmp_path) -> None:
    average = {name: value + 0.5 for name, value in tiny_spa.state_dict().items()}
    content = {
        "step": 12,
        "config": asdict(tiny_spa.config),
        "model": tiny_spa.state_dict(),
        "average": average,
        "optimiser": {},
        "scaler": {},
    }
    torch.save(content, tmp_path / "last.pt")
    model = load_model(tmp_path / "last.pt", device="cpu")
    assert model.layout == "training"
    assert model.card == {"steps": 12}
    for name, value in model.spa.state_dict().items():
        assert torch.equal(value, average[name])


def test_the_packaged_model_is_missing_or_loads(tiny_spa, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(registry, "packaged_folder", lambda: tmp_path / "weights")
    with pytest.raises(ModelError, match="missing from this installation"):
        load_model(device="cpu")
    tiny_spa.config = replace(tiny_spa.config, name="spa-tiny")
    save_model(tiny_spa, tmp_path / "weights" / "spa-tiny.safetensors", {"licence": "BSD"})
    model = load_model(device="cpu")
    assert model.identity.name == "spa-tiny"
    assert model.card == {"licence": "BSD"}
    assert model.config == tiny_spa.config


def test_heads_can_be_chosen_where_there_are_any(tiny_spa, sam_file, tmp_path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_model(tiny_spa, path, {})
    assert load_model(path, device="cpu").identity.head == "both"
    model = load_model(path, device="cpu", head="latent")
    assert model.identity.head == model.config.head == "latent"
    with pytest.raises(InputError, match="latent, logit or both"):
        load_model(path, device="cpu", head="pixel")
    with pytest.raises(ModelError, match="no latent head"):
        load_model(sam_file, device="cpu", head="both")


def test_the_logit_head_needs_sams_output_tokens(make_sam, tmp_path) -> None:
    torch.save(make_sam(outputs=1).state_dict(), tmp_path / "one.pth")
    with pytest.raises(ModelError, match="2 output tokens"):
        load_model(tmp_path / "one.pth", device="cpu")


def test_our_own_networks_take_another_image_size(tiny_spa, tmp_path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_model(tiny_spa, path, {})
    spa = load_model(path, device="cpu", image_size=48).spa
    logits = _logits(spa, _pixels(48), tokens=(0,))
    assert logits.shape == (1, 1, 24, 24)
    with pytest.raises(InputError, match="multiple of 8"):
        load_model(path, device="cpu", image_size=50)


def test_a_model_says_what_it_is_in_json(sam_file) -> None:
    model = load_model(sam_file, device="cpu")
    about = json.loads(json.dumps(describe(model)))
    assert about["name"] == "little_sam"
    assert about["sha256"] == model.identity.sha256
    assert about["parameters"] == sum(math.prod(p.shape) for p in model.spa.parameters())
    assert about["head"] == "logit"
    assert about["device"] == "cpu"


# -- files of other networks ----------------------------------------------------


def _broken(kind: str, state: dict[str, torch.Tensor]) -> dict[str, object]:
    name = "mask_decoder.iou_token.weight"
    position = "image_encoder.pos_embed"
    return {
        "resnet": {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(9)},
        "nothing": {},
        "no tensors": {"epoch": 3},
        "sam 2": {"model": {"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(2)}},
        "missing": {n: t for n, t in state.items() if n != name},
        "adapter": state | {"image_encoder.blocks.0.adapter.weight": torch.zeros(2)},
        "foreign": state | {"classifier.weight": torch.zeros(2)},
        "shape": state | {name: torch.zeros(1, 31)},
        "integers": state | {name: torch.zeros(1, 32, dtype=torch.int64)},
        "sparse": state | {name: torch.zeros(1, 32).to_sparse()},
        "nan": state | {name: torch.full((1, 32), torch.nan)},
        "not square": state | {position: torch.zeros(1, 4, 5, 32)},
        "flat": state | {position: torch.zeros(16)},
        "no blocks": {n: t for n, t in state.items() if ".blocks." not in n},
        "means": state | {"pixel_mean": torch.zeros(3, 1, 1)},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("resnet", "conv1.weight"),
        ("nothing", "no named tensors"),
        ("no tensors", "no named tensors"),
        ("sam 2", "a SAM 2 network of no published size"),
        ("missing", "lacks mask_decoder.iou_token.weight"),
        ("adapter", "unknown image_encoder.blocks.0.adapter.weight"),
        ("foreign", "unknown classifier.weight"),
        ("shape", "differs in shape in mask_decoder.iou_token.weight"),
        ("integers", "mask_decoder.iou_token.weight"),
        ("sparse", "mask_decoder.iou_token.weight"),
        ("nan", "not finite"),
        ("not square", "not SAM's"),
        ("flat", "pos_embed"),
        ("no blocks", "no relative positions"),
        ("means", "another pixel_mean"),
    ],
)
def test_another_network_is_one_sentence(make_sam, tmp_path, kind, says) -> None:
    path = tmp_path / "other.pth"
    torch.save(_broken(kind, make_sam().state_dict()), path)
    with pytest.raises(CheckpointError, match=says) as caught:
        load_model(path, device="cpu")
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 600
    assert message.endswith(".")


def test_import_checks_before_it_copies(sam_file, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "models"
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(folder))
    wrong = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(2)}, wrong)
    with pytest.raises(CheckpointError, match=r"resnet\.pth"):
        import_model(wrong, "mine")
    assert not folder.exists()
    copy = import_model(str(sam_file), "mine")
    assert copy.read_bytes() == sam_file.read_bytes()
    assert [entry.name for entry in list_models()].count("mine") == 1
    model = load_model("mine", device="cpu")
    assert model.identity.name == "mine"
    assert model.identity.sha256 == load_model(sam_file, device="cpu").identity.sha256


def test_a_published_models_preprocessing_is_declared(sam_file, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(tmp_path / "models"))
    import_model(sam_file, "medsam")
    config = load_model("medsam", device="cpu").config
    assert (config.name, config.convention) == ("medsam", "medsam")
    import_model(sam_file, "vit-b-lm")
    config = load_model("vit-b-lm", device="cpu").config
    assert (config.name, config.convention) == ("vit-b-lm", "sam")


def test_what_a_first_load_costs(sam_file) -> None:
    """Importing imports no PyTorch (a dock opens at once); loading imports no compiler."""
    code = (
        "import sys\n"
        "from napari_spa.io.models.load import load_model\n"
        "from napari_spa.io.profiles import PreferenceProfile\n"
        "before = 'torch' in sys.modules\n"
        "load_model(sys.argv[1], device='cpu')\n"
        "print(before, 'sympy' in sys.modules, 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(sam_file)], check=True, capture_output=True, text=True
    )
    assert run.stdout.split() == ["False", "False", "True"]


def test_a_loaded_network_is_for_use_not_for_training(sam_file) -> None:
    spa = load_model(sam_file, device="cpu").spa
    assert not spa.training
    assert not any(p.requires_grad for p in spa.parameters())


def test_paths_may_be_text_or_path(sam_file) -> None:
    assert load_model(str(sam_file), device="cpu").path == Path(sam_file)
