"""Images of one scan side by side, each with its own colours, colour bar and scale bar."""

from collections.abc import Mapping
from math import ceil, sqrt

import numpy as np
from matplotlib.figure import Figure

from exitwave.plot import figures

IMAGE_MAP, SIGNED_MAP = "gray", "RdBu_r"


def images_figure(images: Mapping[str, tuple[np.ndarray, str]], *, pitch_A: tuple[float, float], title: str) -> Figure:
    """Panels of (image (y, x), unit) by name. What takes both signs about zero is drawn symmetrically in two colours, the rest in greys."""
    across = min(4, ceil(sqrt(len(images))))
    down = ceil(len(images) / across)
    made = figures.figure(3.5 * across, 3.5 * down + 0.5)
    axes = made.subplots(down, across, squeeze=False).ravel()
    for at, (name, (image, unit)) in zip(axes, images.items(), strict=False):
        low, high = (float(v) for v in np.percentile(image, (0.3, 99.7)))
        signed = low < 0 < high
        reach = max(-low, high) if signed else 0.0
        limits = (-reach, reach) if signed else (low, max(high, low + 1e-12))
        shown = at.imshow(image, cmap=SIGNED_MAP if signed else IMAGE_MAP, vmin=limits[0], vmax=limits[1], aspect=pitch_A[0] / pitch_A[1])
        figures.scale_bar(at, (image.shape[0], image.shape[1]), pitch_A)
        figures.bare(at)
        made.colorbar(shown, ax=at, fraction=0.046, pad=0.02).set_label(unit)
        at.set_title(name)
    for at in axes[len(images) :]:
        at.axis("off")
    made.suptitle(title, fontsize=12)
    return made
