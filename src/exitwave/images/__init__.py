"""Image analysis: movies denoised without training data, with scores that need no truth, and drift."""

from exitwave.images.denoising.linear import LinearFilter, LinearOptions, filtered_frames, fit_linear
from exitwave.images.scores import Score, Whiteness, paired_difference, range_psnr_dB, score, whiteness

__all__ = ["LinearFilter", "LinearOptions", "Score", "Whiteness", "filtered_frames", "fit_linear", "paired_difference", "range_psnr_dB", "score",
           "whiteness"]
