"""A movie before and after denoising."""

import numpy as np
from matplotlib.figure import Figure

from exitwave.plot import figures


def movie_figure(noisy: np.ndarray, clean: np.ndarray, *, pitch_A: tuple[float, float] | None, title: str, numbers: str = "",
                 number: int = 0) -> Figure:
    """One frame (y, x) before and after, each on its own grey scale in counts, with a scale bar where the pixel is known, and the middle of both
    below, four times as large."""
    made = figures.figure(11.6, 11.4)
    rows = made.subplots(2, 2)
    ny, nx = noisy.shape
    cy, cx = max(16, ny // 4), max(16, nx // 4)
    middle = np.s_[(ny - cy) // 2 : (ny + cy) // 2, (nx - cx) // 2 : (nx + cx) // 2]
    for column, (image, name) in enumerate(((noisy, "as measured"), (clean, "denoised"))):
        low, high = (float(v) for v in np.percentile(image, (0.5, 99.5)))
        for row, part in enumerate((image, image[middle])):
            axes = rows[row, column]
            shown = axes.imshow(part, cmap="gray", vmin=low, vmax=max(high, low + 1e-9))
            figures.bare(axes)
            if pitch_A is not None:
                figures.scale_bar(axes, (part.shape[0], part.shape[1]), pitch_A)
            axes.set_title(f"frame {number}, {name}" if row == 0 else f"its middle, {cy} x {cx} pixels")
        made.colorbar(shown, ax=list(rows[:, column]), orientation="horizontal", fraction=0.04, pad=0.015, shrink=0.9).set_label("counts a pixel")
    made.suptitle(title + (f"\n{numbers}" if numbers else ""), fontsize=12)
    return made
