"""Unit: our own weights files: exact, the same bytes each time, strict when read."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from napari_spa.errors import CheckpointError, DataError, ModelError
from napari_spa.io.models.formats import config_from_mapping, export_checkpoint, save_model
from napari_spa.io.models.load import load_model
from napari_spa.model.spa import Spa, SpaConfig

CARD = {"data": ["lidc", "synthetic"], "licence": "BSD-3-Clause", "dice": 0.86, "ünï": "ø"}


@pytest.fixture
def saved(tiny_spa, tmp_path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_model(tiny_spa, path, CARD)
    return path


def test_a_saved_network_comes_back_as_it_was_to_half_precision(tiny_spa, saved) -> None:
    model = load_model(saved, device="cpu")
    assert model.config == replace(tiny_spa.config, name="tiny")
    assert model.card == CARD
    loaded = model.spa.state_dict()
    assert loaded.keys() == tiny_spa.state_dict().keys()
    for name, value in tiny_spa.state_dict().items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], value.half().float())


def test_the_file_is_half_precision_and_says_what_it_is(saved, tiny_spa) -> None:
    with safe_open(saved, framework="pt") as stream:
        assert {stream.get_tensor(name).dtype for name in stream.keys()} == {torch.float16}  # noqa: SIM118
        about = json.loads(stream.metadata()["napari_spa"])
    assert about["config"]["image_size"] == 32
    assert about["card"] == CARD
    numbers = sum(value.numel() for value in tiny_spa.state_dict().values())
    assert saved.stat().st_size < 2 * numbers + 60_000


def test_the_same_network_gives_the_same_bytes(tiny_spa, saved, tmp_path) -> None:
    other = tiny_spa.to(memory_format=torch.channels_last)
    for number in range(3):
        save_model(other, tmp_path / f"{number}.safetensors", dict(reversed(CARD.items())))
        assert (tmp_path / f"{number}.safetensors").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("value", [1e6, float("nan"), float("inf")])
def test_weights_that_do_not_fit_are_refused(tiny_spa, saved, value) -> None:
    before = saved.read_bytes()
    with torch.no_grad():
        tiny_spa.mask_decoder.iou_token.weight[0, 0] = value
    with pytest.raises(ModelError, match=r"mask_decoder\.iou_token\.weight"):
        save_model(tiny_spa, saved, CARD)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_card_must_be_json(tiny_spa, tmp_path) -> None:
    with pytest.raises(ModelError, match="JSON"):
        save_model(tiny_spa, tmp_path / "x.safetensors", {"data": {1, 2}})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_sentence(tiny_spa, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        save_model(tiny_spa, tmp_path / "file" / "x.safetensors", {})


def _checkpoint(spa: Spa, path: Path, **changes: object) -> Path:
    state = spa.state_dict()
    content: dict[str, object] = {
        "step": 300,
        "config": asdict(spa.config),
        "model": state,
        "average": {name: value / 2 for name, value in state.items()},
        "optimiser": {},
        "scaler": {},
    }
    torch.save({k: v for k, v in {**content, **changes}.items() if v is not None}, path)
    return path


def test_export_takes_the_averaged_weights(tiny_spa, tmp_path) -> None:
    checkpoint = _checkpoint(tiny_spa, tmp_path / "last.pt")
    export_checkpoint(checkpoint, tmp_path / "out.safetensors", {"licence": "BSD"})
    model = load_model(tmp_path / "out.safetensors", device="cpu")
    assert model.card == {"licence": "BSD", "steps": 300}
    for name, value in tiny_spa.state_dict().items():
        assert torch.equal(model.spa.state_dict()[name], (value / 2).half().float())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"average": None}, "no training checkpoint"),
        ({"config": {"image_size": "32"}}, "image_size"),
        ({"config": {}}, "another network"),
        ({"average": {}}, "lacks"),
    ],
)
def test_export_refuses_what_is_no_checkpoint(tiny_spa, tmp_path, changes, says) -> None:
    checkpoint = _checkpoint(tiny_spa, tmp_path / "last.pt", **changes)
    with pytest.raises(CheckpointError, match=says) as caught:
        export_checkpoint(checkpoint, tmp_path / "out.safetensors", {})
    assert "last.pt" in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_configurations_survive_json_and_torch_files() -> None:
    config = SpaConfig(encoder="vit", vit_global=(1, 3, 5), convention="paper")
    assert config_from_mapping(asdict(config)) == config
    assert config_from_mapping(json.loads(json.dumps(asdict(config)))) == config


def test_a_field_of_later_versions_takes_its_default() -> None:
    raw = asdict(SpaConfig())
    del raw["multimask_outputs"]
    assert config_from_mapping(raw) == SpaConfig()


@pytest.mark.parametrize(
    ("written", "convention"),
    [
        ({"frame": "window", "normalise": "standardise", "residual": True}, "spa"),
        ({"frame": "pad", "normalise": "sam", "paper_prior": False}, "sam"),
        ({"frame": "squash", "normalise": "unit", "point_order": "xy"}, "medsam"),
        (
            {
                "frame": "squash",
                "normalise": "unit",
                "point_order": "rc",
                "residual": False,
                "paper_prior": True,
                "sampler": "weighted-sum",
                "responsibilities": "pixel",
                "mean_of": "logit",
                "threshold": 0.5,
            },
            "paper",
        ),
    ],
)
def test_the_convention_of_earlier_files_is_told_from_their_fields(written, convention) -> None:
    raw = {n: v for n, v in asdict(SpaConfig(encoder="vit")).items() if n != "convention"}
    assert config_from_mapping(raw | written).convention == convention


@pytest.mark.parametrize(
    "written",
    [
        {"frame": "pad", "normalise": "standardise"},
        {"frame": "window", "point_order": "rc"},
        {"sampler": "weighted-sum", "residual": True},
    ],
)
def test_a_combination_that_nobody_trained_is_refused(written) -> None:
    with pytest.raises(CheckpointError, match="impossible combination of .*" + min(written)):
        config_from_mapping(written)


def test_only_the_papers_network_has_its_convention() -> None:
    for changes in ({"encoder": "conv"}, {"encoder": "vit", "latent_dim": 0}):
        with pytest.raises(CheckpointError, match="the paper's code"):
            config_from_mapping({"convention": "paper"} | changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder", "resnet"),
        ("encoder", None),
        ("image_size", -1),
        ("image_size", True),
        ("image_size", 128.0),
        ("image_size", 10**9),
        ("widths", [1, 2]),
        ("widths", 24),
        ("vit_global", ["2"]),
        ("convention", "ours"),
        ("residual", False),
        ("threshold", "0.5"),
        ("threshold", float("nan")),
        ("frame", ["window"]),
        ("name", 3),
        ("nonsense", 1),
    ],
)
def test_impossible_configurations_are_refused(field, value) -> None:
    with pytest.raises(CheckpointError, match=field):
        config_from_mapping(asdict(SpaConfig()) | {field: value})


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ("{", "not readable"),
        ("[" * 100_000, "not readable"),
        ("3", "not readable"),
        ('{"schema": 1, "card": {}}', "no configuration"),
        ('{"schema": 1, "config": {}}', "not readable"),
        ('{"schema": 2}', "newer napari-spa"),
        ('{"schema": 1, "card": {}, "config": {"embed_dim": 33}}', "describes no network"),
        ('{"schema": 1, "card": {}, "config": {"image_size": 8}}', "image_size"),
        ('{"schema": 1, "card": {}, "config": {}}', "another network"),
    ],
)
def test_a_damaged_header_is_one_sentence(tmp_path, metadata, says) -> None:
    path = tmp_path / "odd.safetensors"
    save_file({"a": torch.zeros(2)}, path, metadata={"napari_spa": metadata})
    with pytest.raises((CheckpointError, ModelError, ValueError), match=says):
        load_model(path, device="cpu")
