"""What a camera or scanner does to a clean picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from napari_spa.train.synthetic.fields import Field, blur, grid, noise, waves


@lru_cache(maxsize=1)
def _cosines() -> Field:
    """Orthonormal 8-point DCT matrix, shape (8, 8)."""
    k, n = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    matrix = np.cos(np.pi * (n + 0.5) * k / 8) * 0.5
    matrix[0] *= np.sqrt(0.5)
    cosines: Field = matrix.astype(np.float32)
    return cosines


def blocky(image: Field, step: float) -> Field:
    """Quantise 8 x 8 blocks as JPEG does."""
    channels, size, _ = image.shape
    blocks = size // 8
    used = 8 * blocks
    cosines = _cosines()
    tiles = image[:, :used, :used].reshape(channels, blocks, 8, blocks, 8).swapaxes(2, 3)
    spectrum = cosines @ tiles @ cosines.T
    order = np.add.outer(np.arange(8), np.arange(8)).astype(np.float32)
    table = np.float32(step) * (1 + np.float32(0.6) * order)
    tiles = cosines.T @ (np.rint(spectrum / table) * table) @ cosines
    result = image.copy()
    result[:, :used, :used] = tiles.swapaxes(2, 3).reshape(channels, used, used)
    return result


def illuminate(rng: np.random.Generator, image: Field) -> Field:
    """Uneven light: gradient, smooth field or vignette.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    image : float32 array, shape (channels, size, size)
        The clean picture.

    Returns
    -------
    float32 array, same shape
    """
    size = image.shape[-1]
    yy, xx = grid(size)
    choice = rng.random()
    if choice < 0.4:
        angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.7)
        light = (yy * np.float32(np.sin(angle)) + xx * np.float32(np.cos(angle))) / size
        light = 1 + np.float32(strength) * (light - light.mean())
    elif choice < 0.7:
        cy, cx = rng.uniform(0.25, 0.75, 2) * size
        far = ((yy - np.float32(cy)) ** 2 + (xx - np.float32(cx)) ** 2) / np.float32(size * size)
        light = 1 - np.float32(rng.uniform(0.3, 1.2)) * far
    else:
        light = 1 + np.float32(rng.uniform(0.05, 0.2)) * noise(
            rng, size, rng.uniform(0.3, 1.0) * size
        )
    lit: Field = image * np.clip(light, 0.1, 2.0)
    return lit


def _grain(rng: np.random.Generator, image: Field, contrast: float) -> Field:
    """Add noise whose strength follows the contrast of the object."""
    size = image.shape[-1]
    shape = image.shape if rng.random() < 0.5 else (1, size, size)
    grain = rng.standard_normal(shape, dtype=np.float32)
    if rng.random() < 0.45:
        sigma = float(rng.uniform(0.5, 1.4))
        grain = blur(grain, sigma) * np.float32(3.0 * max(sigma, 0.5))
    strength = np.float32(
        min(0.16, contrast * float(np.exp(rng.uniform(np.log(0.02), np.log(0.7)))))
    )
    style = rng.random()
    if style < 0.25:
        grain = grain * np.sqrt(np.clip(image, 0.02, 1)) * np.float32(1.4)
    elif style < 0.4:
        grain = grain * np.clip(image, 0.05, 1) * np.float32(1.6)
    noisy: Field = image + strength * grain
    return noisy


def degrade(rng: np.random.Generator, image: Field, contrast: float, radius: float) -> Field:
    """Random light, blur, noise, coding and tone changes.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    image : float32 array, shape (channels, size, size)
        The clean picture.
    contrast : float
        Colour difference between the object and its surroundings.
    radius : float
        Equivalent radius of the object in pixels; bounds the blur.

    Returns
    -------
    float32 array, same shape, values in [0, 1]
    """
    size = image.shape[-1]
    if rng.random() < 0.45:
        image = illuminate(rng, image)
    image = np.clip(image, 0, 1)
    draw = rng.random()
    if draw < 0.75:
        most = 1.3 if draw < 0.5 else min(5.0, 0.13 * radius)
        image = blur(image, float(rng.uniform(0.3, max(0.5, most))))
    if rng.random() < 0.85:
        image = _grain(rng, image, contrast)
    if rng.random() < 0.03:
        image = image + np.float32(0.15 * contrast) * waves(
            rng, size, float(rng.uniform(2.5, 12)), 0.02
        )
    if rng.random() < 0.2:
        image = blocky(image, float(rng.uniform(0.01, 0.06)) * min(1.0, 3 * contrast))
    image = np.clip(image, 0, 1)
    if rng.random() < 0.35:
        image = image ** np.float32(np.exp(rng.normal(0, 0.35)))
    draw = rng.random()
    if draw < 0.12:
        image = 1 - image
    elif draw < 0.3:
        span = rng.uniform(0.3, 1.0)
        image = np.float32(span) * image + np.float32(rng.uniform(0, 1 - span))
    elif draw < 0.5:
        low, high = image.min(), image.max()
        image = (image - low) / max(float(high - low), 1e-3)
    clipped: Field = np.clip(image, 0, 1).astype(np.float32)
    return clipped
