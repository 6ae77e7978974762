"""Where a network computes: which threads, and what it does when a device's memory is short."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from threadpoolctl import ThreadpoolController
from tiny_model import TINY as TINY_MODEL

from napari_spa import RefinementSession
from napari_spa.io.models.load import load_model
from napari_spa.model import device
from napari_spa.model.device import computing
from napari_spa.model.spa import Spa

blas = ThreadpoolController().select(internal_api="openblas")
pytestmark = pytest.mark.skipif(
    not blas.lib_controllers, reason="NumPy is built with another library than OpenBLAS"
)


def threads():
    return {library.num_threads for library in blas.lib_controllers}


@pytest.fixture
def three():
    """Let OpenBLAS take three threads, as a user may."""
    with blas.limit(limits=3):
        yield


def test_linear_algebra_takes_one_thread_while_something_computes(three):
    @computing
    def fails():
        assert threads() == {1}
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    assert threads() == {3}


def test_computations_that_overlap_leave_the_threads_as_they_were(three):
    begun, ended = threading.Event(), threading.Event()

    @computing
    def long():
        begun.set()
        ended.wait(10)

    @computing
    def short():
        other.start()
        begun.wait(10)

    other = threading.Thread(target=long)
    short()
    ended.set()
    other.join()
    assert threads() == {3}


CONFIG = replace(TINY_MODEL, components=4, prompt_maps=True, extents=True)


class Short:
    """A device that holds so many rows at once."""

    def __init__(self, module: torch.nn.Module, rows: int) -> None:
        self.rows, self.asked = rows, []
        module.register_forward_pre_hook(self)

    def __call__(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.asked.append(len(inputs[0]))
        if len(inputs[0]) > self.rows:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")


@pytest.fixture
def spa() -> Spa:
    torch.manual_seed(0)
    return Spa(CONFIG).eval().requires_grad_(False)


def everything(spa: Spa) -> list[torch.Tensor]:
    """Encode five windows and decode their hypotheses, then eleven latents of the first."""
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(5, 3, 32, 32, generator=generator)
    points = torch.rand(5, 1, 2, generator=generator) * 32
    image, prompt = spa.encode(pixels), spa.embed_prompts(points, torch.ones(5, 1))
    shown = spa.decode_hypotheses(image, prompt)
    one = spa.embed_prompts(points[:1], torch.ones(1, 1))
    latents = torch.randn(11, 4, generator=generator)
    logits, quality = spa.decode(image.row(0), one, latents)
    return [image.tokens, *image.skips, *shown, logits, quality]


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_halves_give_what_all_at_once_would(spa: Spa, rows: int) -> None:
    expected = everything(spa)
    encoder, decoder = Short(spa.image_encoder, rows), Short(spa.mask_decoder, rows)
    for ours, theirs in zip(everything(spa), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert min(max(encoder.asked), max(decoder.asked)) > rows
    encoder.asked.clear()
    decoder.asked.clear()
    everything(spa)
    assert max(encoder.asked + decoder.asked) <= rows, "what was found out is remembered"


def test_a_network_for_which_one_row_is_too_much_moves_to_the_cpu_once(
    spa: Spa, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = everything(spa)
    short = Short(spa.mask_decoder, 0)

    def move(network: Spa) -> bool:
        short.rows = 99  # the CPU has room
        return True

    monkeypatch.setattr(device, "on_accelerator", move)
    with pytest.warns(device.DeviceMemoryWarning, match="goes on on the CPU") as told:
        got = everything(spa)
    assert len(told) == 1
    assert not spa.most_rows
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert not next(spa.parameters()).is_inference(), "it can be trained later"


def test_without_a_device_to_leave_it_is_a_memory_error(spa: Spa) -> None:
    Short(spa.image_encoder, 0)
    with pytest.raises(MemoryError, match="one row"):
        everything(spa)


def test_in_training_nothing_is_done_again(spa: Spa) -> None:
    Short(spa.image_encoder, 0)
    spa.train()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        everything(spa)


def test_a_session_on_a_short_device_shows_the_same_masks() -> None:
    rows, columns = np.ogrid[:200, :200]
    image = np.where((rows - 90) ** 2 + (columns - 110) ** 2 < 900, 180, 60).astype(np.uint8)
    masks = []
    for limit in (None, 3):
        model = load_model("spa-tiny", device="cpu")
        if limit:
            Short(model.spa.mask_decoder, limit)
            Short(model.spa.image_encoder, limit)
        session = RefinementSession(model)
        session.set_image(image)
        masks.append(session.start(points=[(90, 110)]).mask)
    assert masks[0].sum() > 1000
    assert (masks[0] != masks[1]).sum() <= 2


def test_bfloat16_gives_float32_and_nearly_the_same(spa: Spa) -> None:
    exact = everything(spa)
    spa.precision = torch.bfloat16
    for ours, theirs in zip(everything(spa), exact, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.05 * theirs.norm() + 0.01
    assert not torch.equal(ours, theirs)
