"""What a GPU gives: first that its masks are right, then every figure, in five minutes at most.

    python benchmarks/gpu.py                       # on the GPU
    python benchmarks/gpu.py --json figures.json
    python benchmarks/gpu.py --device cpu --small  # the same code without one, a minute or two

Every part is measured on its own: one that fails says so in a line, and the others go on.
Times are medians after a warm-up, with the device waited for.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from rounds import random_vit
from skimage import data

from napari_spa import RefinementSession, load_model
from napari_spa.core.measures import dice
from napari_spa.model.device import DeviceMemoryWarning
from napari_spa.refine.engine.config import EngineConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_spa.io.models.load import LoadedModel
    from napari_spa.model.spa import ImageEmbedding, PromptEmbedding, Spa

SAMPLES = 48
DICE_BAR = 0.999
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
PLACES = {
    "coins": [(50, 60), (130, 150)],
    "retina": [(660, 250), (700, 700)],
    "immunohistochemistry": [(250, 250)],
}
"""Clicks, row and column, in pictures that come with scikit-image."""


class Benchmark:
    """The parts, the time they may take and the figures they leave."""

    def __init__(self, device: torch.device, seconds: float, *, small: bool) -> None:
        self.device, self.small, self.figures = device, small, {}
        self.repeats = 3 if small else 15
        self.end = time.monotonic() + seconds

    def part(self, annotated: Callable[[Benchmark], None]) -> None:
        """Run a part, if there is time left."""
        begun = time.monotonic()
        if begun > self.end:
            print(f"\n{annotated.__name__}: left out, the time is over", flush=True)
            return
        print(f"\n== {annotated.__doc__.splitlines()[0]}", flush=True)
        try:
            with torch.inference_mode(mode=annotated is not training):
                annotated(self)
        except Exception as error:  # noqa: BLE001  the other parts go on
            traceback.print_exc(limit=-3)
            self.say(f"{annotated.__name__} failed", f"{type(error).__name__}: {error}")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        print(f"   ({time.monotonic() - begun:.1f} s)", flush=True)

    def say(self, name: str, value: float | str, unit: str = "") -> None:
        """Print and keep a figure."""
        shown = value if isinstance(value, str) else f"{value:.6g}"
        print(f"   {name:<62} {shown} {unit}".rstrip(), flush=True)
        self.figures[name] = value

    def milliseconds(self, annotated: Callable[[], object], repeats: int | None = None) -> float:
        """Return the median time of some work, the device waited for."""
        times = []
        for number in range(2 + (repeats or self.repeats)):
            self.wait()
            begun = time.perf_counter()
            annotated()
            self.wait()
            if number >= 2:  # two to warm up
                times.append(1000 * (time.perf_counter() - begun))
        return statistics.median(times)

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def picture(name: str) -> np.ndarray:
    """Return a picture that comes with scikit-image, 1024 pixels wide at most."""
    return getattr(data, name)()[:1024, :1024]


def play(model: LoadedModel, image: np.ndarray, place: tuple[int, int]) -> list[np.ndarray]:
    """Play a click, two picks and a corrective click; return the masks."""
    session = RefinementSession(model, seed=1)
    session.set_image(image)
    proposal = session.start(points=[place])
    masks = [proposal.mask, *(c.mask for c in proposal.candidates)]
    for number in range(2):
        if proposal.candidates:
            proposal = session.pick(number % len(proposal.candidates))
            masks.append(proposal.mask)
    masks.append(session.click((place[0] + 4, place[1] + 4)).mask)
    return masks


def ceilings(context: Benchmark) -> None:
    """Measure what the device can do: the floors under everything below."""
    if context.device.type == "cuda":
        context.say("device", torch.cuda.get_device_name(context.device))
        memory = torch.cuda.get_device_properties(context.device).total_memory
        context.say("memory", memory / 2**30, "GiB")
    context.say("torch", torch.__version__)
    context.say("processor cores", float(os.cpu_count() or 1))
    side = 512 if context.small else 8192
    for kind in (torch.float32, torch.bfloat16):
        first, second = (torch.randn(side, side, device=context.device, dtype=kind) for _ in "ab")
        rate = 2 * side**3 / context.milliseconds(lambda a=first, b=second: a @ b) / 1e9
        context.say(f"matrix product, {kind}".replace("torch.", ""), rate, "TFLOP/s")
    block = torch.empty(2**24 if context.small else 2**30, dtype=torch.uint8, device=context.device)
    other = torch.empty_like(block)
    rate = 2 * len(block) / context.milliseconds(lambda: other.copy_(block)) / 1e6
    context.say("copy on the device, read and written", rate, "GB/s")
    host = torch.empty(SAMPLES, 256, 256)
    fetched = host.to(context.device)
    context.say("48 maps of 256 x 256 to the host", context.milliseconds(fetched.cpu), "ms")


def masks(context: Benchmark) -> None:
    """Check for the same masks as on the CPU, in each precision (spa-tiny)."""
    cpu = load_model("spa-tiny", device="cpu")
    there = load_model("spa-tiny", device=str(context.device))
    agree: dict[str, list[float]] = {kind: [] for kind in PRECISIONS}
    for name, places in list(PLACES.items())[: 1 if context.small else None]:
        for place in places:
            image = picture(name)
            expected = play(cpu, image, place)
            for kind, scores in agree.items():
                there.spa.precision = PRECISIONS[kind]
                got = play(there, image, place)
                scores += [dice(a, b) for a, b in zip(got, expected, strict=False)]
    for kind, scores in agree.items():
        context.say(f"whole rounds, {kind} to the CPU: mean Dice", float(np.mean(scores)))
        context.say(f"whole rounds, {kind} to the CPU: worst Dice", float(np.min(scores)))
    verdict = "met" if np.mean(agree["float32"]) > DICE_BAR else "NOT met"
    context.say(f"the device agrees with the CPU (bar {DICE_BAR})", verdict)
    compare(context, "spa-tiny", there.spa)


def compare(context: Benchmark, name: str, spa: Spa) -> None:
    """Compare the masks of the same latents in low precision and in float32."""
    size = spa.config.image_size
    found: dict[str, list[float]] = {kind: [] for kind in PRECISIONS}
    for shown, places in PLACES.items():
        image = torch.from_numpy(picture(shown).copy()).float()
        image = (image if image.ndim == 3 else image[..., None].expand(-1, -1, 3)).permute(2, 0, 1)
        row, column = places[0]
        cut = image[:, max(row - 64, 0) : row + 64, max(column - 64, 0) : column + 64][None]
        cut = torch.nn.functional.interpolate(cut, (size, size), mode="bilinear")
        pixels = ((cut - cut.mean()) / cut.std()).to(context.device)
        exact = None
        for kind, scores in found.items():
            spa.precision = PRECISIONS[kind]
            mask = (decode(spa, spa.encode(pixels), prompt_of(spa)) > 0)[:, 0].flatten(1).double()
            exact = mask if exact is None else exact
            total = exact.sum(1) + mask.sum(1)
            scores += (2 * (exact * mask).sum(1) / total)[total > 0].tolist()
    spa.precision = torch.float32
    for kind, scores in list(found.items())[1:]:
        mean = float(np.mean(scores)) if scores else float("nan")
        context.say(f"{name}: single samples, {kind} to float32: mean Dice", mean)
        allowed = "yes" if mean > DICE_BAR else "NO"
        context.say(f"{name}: {kind} may be used (bar {DICE_BAR})", allowed)


def prompt_of(spa: Spa) -> PromptEmbedding:
    """Return the embedding of a click in the middle."""
    middle = torch.full((1, 1, 2), spa.config.image_size / 2, device=spa.device)
    return spa.embed_prompts(middle, torch.ones(1, 1, device=spa.device))


def decode(spa: Spa, image: ImageEmbedding, prompt: PromptEmbedding) -> torch.Tensor:
    """Decode all samples of a round."""
    latents = torch.randn(SAMPLES, spa.config.latent_dim, generator=torch.manual_seed(1))
    return spa.decode(image, prompt, latents.to(spa.device))[0]


def small_network(context: Benchmark) -> None:
    """Time spa-tiny: a first mask, later rounds, a further object (1024 x 1024)."""
    image = picture("retina")
    for kind, precision in PRECISIONS.items():
        model = load_model("spa-tiny", device=str(context.device))
        model.spa.precision = precision
        first, later, further = [], [], []
        for repeat in range(1 + context.repeats):
            session = RefinementSession(model, seed=repeat)
            session.set_image(image)
            begun = time.perf_counter()
            proposal = session.start(points=[(660, 250)])
            first.append(time.perf_counter() - begun)
            for number in range(4):
                if proposal.candidates:
                    begun = time.perf_counter()
                    proposal = session.pick(number % len(proposal.candidates))
                    later.append(time.perf_counter() - begun)
            session.accept()
            begun = time.perf_counter()
            session.start(points=[(700, 300)])
            further.append(time.perf_counter() - begun)
        for name, seconds in (("first mask", first), ("later round", later), ("next", further)):
            median = 1000 * statistics.median(seconds[1:])
            context.say(f"spa-tiny, {kind}: {name}", median, "ms")
        pixels = torch.randn(64, 3, 128, 128, device=context.device)
        rate = 64e3 / context.milliseconds(lambda m=model, p=pixels: m.spa.encode(p))
        context.say(f"spa-tiny, {kind}: encode, 64 windows at once", rate, "windows/s")


def large_network(context: Benchmark) -> None:
    """Time ViT-B at 1024 pixels: encode (bar 25 ms), later round (bar 10 ms)."""
    size = 256 if context.small else 1024
    model = random_vit(size, context.device)
    spa = model.spa
    pixels = torch.randn(1, 3, size, size, device=context.device)
    compare(context, "ViT-B, random weights", spa)
    for precision, number in PRECISIONS.items():
        spa.precision = number
        kind = f"ViT-B/{size}, {precision}"
        context.say(f"{kind}: encode", context.milliseconds(lambda: spa.encode(pixels)), "ms")
        image, prompt = spa.encode(pixels), prompt_of(spa)
        spent = context.milliseconds(lambda i=image, p=prompt: decode(spa, i, p))
        context.say(f"{kind}: decode {SAMPLES} samples", spent, "ms")
        if context.device.type == "cuda":
            context.say(f"{kind}: most memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
        for head in ("latent", "logit"):
            session = RefinementSession(model, config=EngineConfig(head=head))
            session.set_image(np.random.default_rng(0).integers(0, 255, (size, size), np.uint8))
            session.start(points=[(size // 2, size // 2)])

            def later(session: RefinementSession = session) -> None:
                session.pick(0)
                session.undo()

            spent = context.milliseconds(later, 5)
            context.say(f"{kind}: later round, {head} head, all of it", spent, "ms")


def graphs(context: Benchmark) -> None:
    """Time the decoding of all samples of ViT-B at 1024 pixels as a CUDA graph."""
    if context.device.type != "cuda":
        context.say("CUDA graph", "needs a GPU")
        return
    spa = random_vit(1024, context.device).spa
    spa.precision = torch.float16
    image = spa.encode(torch.randn(1, 3, 1024, 1024, device=context.device))
    prompt, kind = prompt_of(spa), "ViT-B/1024, float16"
    latents = torch.randn(SAMPLES, spa.config.latent_dim, device=context.device)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            spa.decode(image, prompt, latents)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            spa.decode(image, prompt, latents)
    except RuntimeError as error:
        context.say(f"{kind}: decode as a graph", f"impossible: {str(error).splitlines()[0]}")
        return
    spent = context.milliseconds(graph.replay)
    context.say(f"{kind}: decode {SAMPLES} samples as a CUDA graph", spent, "ms")


def short_of_memory(context: Benchmark) -> None:
    """Run out of memory: fewer rows at once, then the CPU."""
    if context.device.type != "cuda":
        context.say("out of memory", "simulated in tests/model/test_device.py")
        return
    model = random_vit(512, context.device)
    spa = model.spa
    image, prompt = spa.encode(torch.randn(1, 3, 512, 512, device=context.device)), prompt_of(spa)
    expected = decode(spa, image, prompt) > 0
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(context.device).total_memory
    for spare in (2**29, 2**20):
        used = torch.cuda.memory_reserved()
        torch.cuda.set_per_process_memory_fraction((used + spare) / total)
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always", DeviceMemoryWarning)
                got = decode(spa, image, prompt).to(context.device) > 0
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        same = float((got == expected).double().mean())
        where = f"on {spa.device}, {spa.most_rows.get('_decode', SAMPLES)} at once"
        context.say(
            f"with {spare / 2**20:.0f} MiB to spare", f"{where}, {same:.2%} of pixels alike"
        )
        for one in told:
            print(f"   {one.message}")
        torch.cuda.empty_cache()


def folder(context: Benchmark) -> None:
    """Segment a folder of images, one click each, in one process."""
    sys.path.insert(0, str(Path(__file__).parent))
    from batch import make_images

    from napari_spa.batch.engine import BatchEngine
    from napari_spa.batch.plan import make_plan
    from napari_spa.batch.segment import segment_image
    from napari_spa.batch.task import BatchRecipe

    with tempfile.TemporaryDirectory() as name:
        place, recipe = Path(name), BatchRecipe(device=str(context.device))
        make_images(place, 4 if context.small else 40)
        plan = make_plan(place / "images", place / "out", recipe, place / "clicks.csv")
        engine = BatchEngine(recipe)
        segment_image(plan.tasks[0], recipe, engine, place)
        begun = time.perf_counter()
        for task in plan.tasks[1:]:
            segment_image(task, recipe, engine, place)
        spent = (time.perf_counter() - begun) / len(plan.tasks[1:])
    context.say("folder: an image in one process", 1000 * spent, "ms")


def training(context: Benchmark) -> None:
    """Train: windows a second that the device takes, and that the cores draw."""
    from importlib import resources

    from torch.utils.data import DataLoader

    from napari_spa.train.data import SyntheticSource
    from napari_spa.train.loop import Trainer, Windows, collate
    from napari_spa.train.recipe import read_recipe

    packaged = resources.files("napari_spa.train") / "recipes" / "spa-tiny.toml"
    with resources.as_file(packaged) as path:
        config = read_recipe(path).on("cuda")
    if context.small:
        config = replace(config, batch=4, workers=1)
    windows = Windows([(SyntheticSource(32, size=128), 1.0)], config.window)
    batch = collate([windows[index] for index in range(config.batch)])
    for kind in ("float32", "bfloat16"):
        trainer = Trainer(replace(config, precision=kind), context.device)
        spent = context.milliseconds(lambda t=trainer: t.advance(batch), 3 if context.small else 10)
        context.say(f"training, {kind}: steps of {config.batch} windows", 1000 / spent, "steps/s")
        context.say(f"training, {kind}: the device takes", 1000 * config.batch / spent, "windows/s")
        loss = trainer.advance(batch)["loss"]
        context.say(f"training, {kind}: loss after the same few steps", loss)
        del trainer
    workers = min(config.workers, os.cpu_count() or 1)
    numbers = range(10**9)
    loader = DataLoader(
        windows, config.batch, sampler=numbers, collate_fn=collate, num_workers=workers
    )
    batches = iter(loader)
    for _ in range(2 * workers):
        next(batches)
    drawn, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < (2 if context.small else 10):
        next(batches)
        drawn += config.batch
    rate = drawn / (time.perf_counter() - begun)
    context.say(f"training: {workers} processes draw", rate, "windows/s")


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=240, help="begin no part after so long")
    parser.add_argument("--small", action="store_true", help="few repeats of small sizes")
    parser.add_argument("--parts", nargs="+", help="only these, as they are called in this file")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    context = Benchmark(torch.device(options.device), options.seconds, small=options.small)
    parts = (
        ceilings,
        masks,
        large_network,
        small_network,
        training,
        folder,
        short_of_memory,
        graphs,
    )
    for annotated in parts:
        if options.parts and annotated.__name__ not in options.parts:
            continue
        context.part(annotated)
        if options.json is not None:  # after each: what was measured is kept
            options.json.write_text(json.dumps(context.figures, indent=1))


if __name__ == "__main__":
    main()
