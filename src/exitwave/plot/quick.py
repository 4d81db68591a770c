"""A picture in a few milliseconds, for images that are drawn again every second: the image, a scale bar, a line of text."""

import os
from functools import lru_cache
from math import ceil

import matplotlib as mpl
import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from exitwave.io import writing
from exitwave.plot.figures import PHASE_MAP, length_text, nice

SIDE, MOST, STRIP, TEXT, MARGIN = 512, 4096, 30, 15, 10  # px: the shorter side at least, the longer at most, the strip below, its letters


def quick_picture(path: str | os.PathLike[str], image: np.ndarray, pitch_A: tuple[float, float], told: str, limits: tuple[float, float] | None = None,
                  unit: str = "rad") -> None:
    """`image` (y, x) as PNG, enlarged by whole pixels, with square Angstroms, under it a scale bar, the range of its colours and `told`.

    Grey levels run from the 0.3rd to the 99.7th percentile unless limits are given. The file appears whole and takes the place of the one before.

    Raises:
        InputError: as `exitwave.io.writing`.
    """
    low, high = limits or tuple(np.percentile(image, (0.3, 99.7)))
    levels = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    pixels = (mpl.colormaps[PHASE_MAP](levels, bytes=True))[..., :3]
    finest = min(pitch_A)
    sides = [n * p / finest for n, p in zip(image.shape, pitch_A, strict=True)]
    times = max(1, min(ceil(SIDE / min(sides)), int(MOST / max(sides))))
    ny, nx = (round(n * p / finest * times) for n, p in zip(image.shape, pitch_A, strict=True))
    canvas = Image.new("RGB", (nx, ny + STRIP), "white")
    canvas.paste(Image.fromarray(pixels).resize((nx, ny), Image.Resampling.NEAREST), (0, 0))
    draw, font = ImageDraw.Draw(canvas), _font()
    px_A = finest / times
    length = nice(0.22 * nx * px_A)
    wide, middle = length / px_A, ny + STRIP // 2
    draw.rectangle((MARGIN, middle - 3, MARGIN + wide, middle + 3), fill="black")
    words = f"{length_text(length)}    {low:.3g} to {high:.3g} {unit}    {told}"
    draw.text((MARGIN + wide + MARGIN, middle), words, fill="black", font=font, anchor="lm")
    with writing(path, True) as partial:
        canvas.save(partial, format="PNG")


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib brings one that has Angstroms."""
    return ImageFont.truetype(findfont("DejaVu Sans"), TEXT)
