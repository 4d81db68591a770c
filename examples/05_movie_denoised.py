"""
Atoms through the noise of a movie
==================================

A platinum particle on ceria at 0.43 electrons a pixel and frame: twelve frames of a high-resolution TEM movie, simulated with its drift, so that the
truth is known. Two denoisers see each pixel through its neighbours in space and time, never the pixel itself. They need no training data and
no truth; the score that they give without truth is compared with the real error. No data needed, under a minute on two cores.
Run: ``python examples/05_movie_denoised.py``.
"""

# sphinx_gallery_thumbnail_path = 'gallery/denoise.png'

# %%
# The movie
# ---------
# Multislice of the particle, a lens with finite coherence, a counting camera. The recipe is all that there is to keep.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from exitwave.images import denoised_blind, filtered_frames, fit_blind, fit_linear, range_psnr_dB, score
from exitwave.simulate.movie import MovieRecipe, simulate_movie

movie = simulate_movie(MovieRecipe(specimen="Pt-CeO2", motion="drift", dose_e=0.43))
print(f"{movie.counts.shape[0]} frames, {movie.counts.mean():.2f} electrons a pixel, drift {movie.recipe.drift_px} pixels a frame")

# %%
# Two denoisers
# -------------
# The linear filter comes from the movie's own autocovariance. The blind network filters further, over growing distances, and ends in a small
# perceptron that is trained on the movie.
linear = fit_linear(movie.counts)
trained = fit_blind(movie.counts)
clean = {"as counted": movie.counts.astype(float), "linear": np.array(list(filtered_frames(movie.counts, linear))),
         "blind": np.array(list(denoised_blind(movie.counts, trained.net)))}
for name, frames in clean.items():
    print(f"{name:12s} range-PSNR {range_psnr_dB(frames, movie.mean):5.1f} dB")

# %%
# The score without truth
# -----------------------
# The mean of (f - y)^2 - y is the error, because f(p) knows nothing of y(p). Its standard error says how far to believe it.
for name in ("linear", "blind"):
    found = score(zip(clean[name], movie.counts, strict=True))
    print(f"{name:12s} score {found.value:.1e} +- {found.sigma:.0e}, true error {np.mean((clean[name] - movie.mean) ** 2):.1e} counts^2")

figure, axes = plt.subplots(1, 4, figsize=(15, 5.0), layout="constrained")
low, high = np.percentile(movie.mean[6], (0.5, 99.5))
for at, (name, frame) in zip(axes, (*((name, frames[6]) for name, frames in clean.items()), ("truth", movie.mean[6])), strict=True):
    limits = (0, 3) if name == "as counted" else (low, high)
    at.imshow(frame, cmap="gray", vmin=limits[0], vmax=limits[1])
    number = "" if name == "truth" else f", {range_psnr_dB(clean[name], movie.mean):.1f} dB"
    at.set_title(f"{name}{number}\n{limits[0]:.2g} (black) to {limits[1]:.2g} (white) electrons")
    at.set_xticks([])
    at.set_yticks([])
    bar = 10 / movie.recipe.pixel_A
    at.plot([12, 12 + bar], [240, 240], color="yellow", lw=3)
    at.text(12 + bar / 2, 234, "1 nm", color="yellow", ha="center")
figure.suptitle("one frame of twelve: platinum on ceria at 0.43 electrons a pixel, simulated\n")
figure.savefig(Path("denoise.png"), dpi=100)
plt.show()
