"""How long a round takes: the naive procedure, ours, and the least that the machine allows.

    python benchmarks/rounds.py                 # everything, about two minutes on two cores
    python benchmarks/rounds.py --skip-vit      # spa-tiny only
    python benchmarks/rounds.py --chunks        # also which decoder chunk is quickest

All figures are medians; seconds of a core count what all threads computed, and not what other
programs took.  *Hovered* is where the pointer rested before the click.  Both sides of a ratio
come from the same run, the same weights and the same machine.  The least is the operations of our
round over the rate at which the same threads multiply large matrices, or its bytes over the rate
at which they copy, whichever takes longer: weights once, each map written once and read once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass

# Threads that spin while they wait slow everything else on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from typing import TYPE_CHECKING

import numpy as np
import torch
from skimage import data
from sklearn.cluster import KMeans
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from napari_spa import RefinementSession, load_model
from napari_spa.io.models.load import LoadedModel
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.model.heads import chunk_size
from napari_spa.model.spa import Spa, SpaConfig
from napari_spa.refine.engine.config import EngineConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.core.types import Proposal
    from napari_spa.model.spa import HeadKind

SAMPLES, CANDIDATES = 48, 4
BARS, RATIO_BAR = {"first": 0.6, "each later": 0.15, "further": 0.25}, 5.0
NEIGHBOURS = ((20, -15), (-35, 25), (45, 40), (-60, -30))
DISC = (660.0, 250.0)


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="of each figure (default: 5)")
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--skip-vit", action="store_true", help="leave the ViT-B comparison out")
    parser.add_argument("--chunks", action="store_true", help="time decoder chunks")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, CPU, medians")
    model = load_model(options.model, device="cpu")
    machine = Machine.measure()
    print(f"matrices {machine.operations / 1e9:.0f} GFLOP/s, copies {machine.bytes / 1e9:.1f} GB/s")
    time_small(model, options.repeats)
    compare(model, machine, options.repeats, heads=(None,))
    if options.chunks:
        time_chunks(model, options.repeats)
    if not options.skip_vit:
        vit = random_vit()
        compare(vit, machine, options.repeats, heads=("latent", "logit"))
        if options.chunks:
            time_chunks(vit, max(1, options.repeats // 2))


def median_of(repeats: int, annotated: Callable[[], object]) -> float:
    """Return the median seconds of some work, after one run to warm up."""
    annotated()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        annotated()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def time_small(model: LoadedModel, repeats: int) -> None:
    """Print first masks, later rounds and further objects on a 1024-pixel fundus picture."""
    image = data.retina()[:1024, :1024]
    session = RefinementSession(model)
    session.set_image(image)
    session.start(points=[DISC])  # warm up
    taken: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)

    def timed(kind: str, act: Callable[[], Proposal]) -> Proposal:
        begun = time.perf_counter(), time.process_time()
        proposal = act()
        taken[kind].append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
        return proposal

    for repeat in range(repeats):
        for picks, rests in ((5, False), (0, False), (5, True)):
            session = RefinementSession(model, seed=repeat)
            session.set_image(image)
            proposal = timed("first mask after a click", lambda s=session: s.start(points=[DISC]))
            for number in range(picks):
                if proposal.candidates:
                    index = number % len(proposal.candidates)
                    proposal = timed("each later round", lambda s=session, k=index: s.pick(k))
            kind = ("after picks" if picks else "without a pick") + ", hovered" * rests
            for down, right in NEIGHBOURS:
                session.accept()
                place = DISC[0] + down, DISC[1] + right
                if rests:
                    session.look_ahead(place)
                timed(f"further, {kind}", lambda s=session, at=place: s.start(points=[at]))
    print(f"\n{model.identity.name}, {model.identity.head} head, 1024 x 1024 px, {SAMPLES} samples")
    for kind, some in taken.items():
        clock, core = np.median(some, axis=0)
        bar = next(bar for start, bar in BARS.items() if kind.startswith(start))
        verdict = "met" if clock <= bar else "NOT met"
        print(f"  {kind:<30}{clock:6.3f} s, {core:6.3f} of a core (bar {bar:.2f} s: {verdict})")


def random_vit(size: int = 512, device: str | torch.device = "cpu") -> LoadedModel:
    """Return SAM's ViT-B with the paper's additions and random weights."""
    torch.manual_seed(0)
    config = SpaConfig(
        name="vit-b",
        encoder="vit",
        image_size=size,
        embed_dim=256,
        decoder_mlp=2048,
        latent_dim=64,
        head="latent",
        convention="paper",
    )
    spa = Spa(config).eval().requires_grad_(False)
    # A random decoder hardly listens to its latent; make it, so that clustering has work to do.
    spa.conditioner.layers[0].weight[:, config.embed_dim :] *= 8
    spa.conditioner.layers[4].weight *= 8
    identity = ModelIdentity("vit-b", "0" * 64, "latent", config.rules.sampler, config.latent_dim)
    return LoadedModel(spa.to(device), identity, torch.device(device))


@dataclass(frozen=True)
class Machine:
    """What a machine's processor does at best, a second."""

    operations: float
    bytes: float

    @classmethod
    def measure(cls, side: int = 2048, megabytes: int = 256) -> Machine:
        """Multiply large matrices and copy large arrays, in float32."""
        one, two = torch.rand(2, side, side)
        here, there = torch.rand(2, megabytes * 2**18)
        product = median_of(5, lambda: torch.mm(one, two))
        return cls(2 * side**3 / product, 2 * here.nbytes / median_of(5, lambda: there.copy_(here)))

    def least(self, operations: float, moved: float) -> float:
        """Return the seconds that a round cannot go below."""
        return max(operations / self.operations, moved / self.bytes)


def compare(
    model: LoadedModel, machine: Machine, repeats: int, heads: Sequence[HeadKind | None]
) -> None:
    """Print one later round: naive, ours and the least, on the same network."""
    spa, size = model.spa, model.config.image_size
    image = np.random.default_rng(0).integers(0, 255, (size, size, 3)).astype(np.uint8)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    point = torch.tensor([[[size / 2, size / 2]]])
    latents = torch.randn(SAMPLES, model.config.latent_dim, generator=torch.manual_seed(1))
    difference = check_equal(spa, pixels, point, latents)
    naive = median_of(max(1, repeats // 2), lambda: naive_round(spa, pixels, point, latents))
    print(f"\n{model.identity.name} at {size} px, {SAMPLES} samples, one later round")
    print(f"  the logits of both ways differ by at most {difference:.1e}")
    print(f"  naive: encode again, decode one by one, K-means on pixels {naive:7.3f} s")
    for head in heads:
        session = RefinementSession(model, config=EngineConfig(head=head))
        session.set_image(image)
        session.start(points=[(size / 2, size / 2)])
        ours = median_of(repeats, lambda session=session: pick_and_return(session))
        operations = count_operations(session)
        maps = 2 * SAMPLES * (4 * model.config.grid) ** 2 * 4
        weights = sum(p.nbytes for name, p in spa.named_parameters() if "image_enc" not in name)
        least = machine.least(operations, maps + weights)
        verdict = "met" if naive / ours >= RATIO_BAR else "NOT met"
        print(
            f"  ours, {head or model.config.head} head: {ours:7.3f} s, "
            f"{naive / ours:5.1f} x faster (bar {RATIO_BAR:.0f} x: {verdict})\n"
            f"    at least {least:7.3f} s: {operations / 1e9:.1f} GFLOP, "
            f"{(maps + weights) / 1e6:.0f} MB; ours takes {ours / least:.1f} x that"
        )


def count_operations(session: RefinementSession) -> int:
    """Return the floating-point operations of a later round's products and convolutions."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what other threads compute is not counted
    with FlopCounterMode(display=False) as counter:
        pick_and_return(session)
    torch.set_num_threads(threads)
    return counter.get_total_flops()


def pick_and_return(session: RefinementSession) -> None:
    """Play one later round and undo it, so that each repetition does the same."""
    session.pick(0)
    session.undo()


@torch.inference_mode()
def naive_round(
    spa: Spa, pixels: torch.Tensor, point: torch.Tensor, latents: torch.Tensor
) -> np.ndarray:
    """Play a round as the paper's procedure is written: nothing kept, nothing batched."""
    size = spa.config.image_size
    prompt = spa.embed_prompts(point, torch.ones(1, 1))
    means, _ = spa.initial_mixture(prompt)
    spa.weight_network(torch.softmax(means, dim=-1))
    maps = []
    for logits in naive_logits(spa, pixels, point, latents):
        full = functional.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
        maps.append(full[0, 0].sigmoid().numpy())
    stack = np.stack(maps)
    labels = KMeans(CANDIDATES, random_state=0).fit(stack.reshape(len(stack), -1)).labels_
    centres = np.stack([stack[labels == k].mean(axis=0) for k in range(labels.max() + 1)])
    others = stack[labels != 0].mean(axis=0) if (labels != 0).any() else 0.0
    np.argpartition(np.abs(centres[0] - others).ravel(), -20)[-20:]  # the representative point
    return stack.mean(axis=0) > 0.5


def naive_logits(
    spa: Spa, pixels: torch.Tensor, point: torch.Tensor, latents: torch.Tensor
) -> list[torch.Tensor]:
    """Encode the image and decode each sample on its own, its latent tiled and joined."""
    encoded = spa.image_encoder(pixels)
    tokens, skips = encoded if isinstance(encoded, tuple) else (encoded, ())
    skips = spa.mask_decoder.project_skips(skips)
    prompt = spa.embed_prompts(point, torch.ones(1, 1))
    if prompt.fine is not None:
        skips = (*skips[:-1], skips[-1] + prompt.fine)
    decoded = []
    for latent in latents:
        tiled = latent.view(1, -1, 1, 1).expand(1, -1, *tokens.shape[-2:])
        embedding = spa.conditioner.layers(torch.cat([tokens, tiled], dim=1))
        embedding = embedding + tokens * spa.config.rules.residual + prompt.dense
        logits, *_ = spa.mask_decoder(embedding, spa.position(), prompt.sparse, skips=skips)
        decoded.append(logits)
    return decoded


@torch.inference_mode()
def check_equal(
    spa: Spa, pixels: torch.Tensor, point: torch.Tensor, latents: torch.Tensor
) -> float:
    """Return how far our batched logits are from the naive ones, for a few latents."""
    naive = torch.cat(naive_logits(spa, pixels, point, latents[:4]))
    prompt = spa.embed_prompts(point, torch.ones(1, 1))
    ours, _ = spa.decode(spa.encode(pixels), prompt, latents[:4])
    return float((naive - ours).abs().max())


@torch.inference_mode()
def time_chunks(model: LoadedModel, repeats: int) -> None:
    """Print how long all samples take to decode, by the number decoded at once."""
    spa = model.spa
    size = spa.config.image_size
    embedding = spa.encode(torch.randn(1, 3, size, size))
    prompt = spa.embed_prompts(torch.tensor([[[size / 2, size / 2]]]), torch.ones(1, 1))
    latents = torch.randn(SAMPLES, spa.config.latent_dim)

    def decode(chunk: int) -> None:
        for start in range(0, SAMPLES, chunk):
            spa.decode(embedding, prompt, latents[start : start + chunk])

    print(f"\n{model.identity.name}: {SAMPLES} samples on {spa.config.grid} x {spa.config.grid}")
    for chunk in (1, 4, 8, 12, 16, 24, 48):
        print(f"  {chunk:2} at once {median_of(repeats, lambda chunk=chunk: decode(chunk)):7.3f} s")
    print(f"  used: {chunk_size(spa)}")


if __name__ == "__main__":
    main()
