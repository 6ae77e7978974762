"""Unit: names of devices, with the machine's devices pretended."""

from __future__ import annotations

import pytest
import torch

from napari_spa.errors import DeviceError
from napari_spa.io.models.load import device_in_turn, load_model, resolve_device


@pytest.fixture
def machine(monkeypatch):
    def pretend(*, cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(2, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_takes_the_fastest(machine, cuda, mps, expected) -> None:
    machine(cuda=cuda, mps=mps)
    assert resolve_device("auto") == torch.device(expected)
    assert resolve_device("AUTO ") == torch.device(expected)


def test_named_devices_that_exist(machine) -> None:
    machine(cuda=2, mps=True)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1", "mps"):
        assert resolve_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("name", "cuda", "says"),
    [
        ("cuda", 0, "no CUDA device"),
        ("cuda:7", 0, "no CUDA device"),
        ("cuda:7", 2, "the last CUDA device is 'cuda:1'"),
        ("mps", 0, "no 'mps' device"),
        ("tpu", 0, "unknown device 'tpu'"),
        ("meta", 0, "unknown device 'meta'"),
        ("cpu:3", 0, "unknown device"),
        ("cuda:", 1, "unknown device"),
        ("cuda:-1", 1, "unknown device"),
        ("", 0, "unknown device"),
        (None, 0, "unknown device"),
    ],
)
def test_devices_that_do_not_exist_are_one_sentence(machine, name, cuda, says) -> None:
    machine(cuda=cuda)
    with pytest.raises(DeviceError, match=says) as caught:
        resolve_device(name)
    assert str(caught.value).endswith(".")


def test_processes_take_gpus_in_turn(machine) -> None:
    machine(cuda=2)
    for name in ("auto", "cuda"):
        taken = [str(device_in_turn(name, process)) for process in range(3)]
        assert taken == ["cuda:0", "cuda:1", "cuda:0"]
    assert str(device_in_turn("cuda:0", 1)) == "cuda:0"
    machine(mps=True)
    assert str(device_in_turn("auto", 1)) == "mps"
    machine()
    with pytest.raises(DeviceError, match="no CUDA device"):
        device_in_turn("cuda", 1)


def test_the_device_is_checked_before_the_file_is_read(machine, tmp_path) -> None:
    machine()
    with pytest.raises(DeviceError):
        load_model(tmp_path / "gone.pth", device="cuda:7")


@pytest.mark.gpu
def test_a_model_moves_to_the_gpu(sam_file) -> None:
    model = load_model(sam_file, device="cuda")
    assert {p.device.type for p in model.spa.parameters()} == {"cuda"}
    assert model.device.type == "cuda"
