"""Image analysis: movies denoised without training data, with scores that need no truth, and drift."""

from exitwave.images.align import Drift, ShiftedFrames, drift_of, movie_drift
from exitwave.images.denoising.blind import BlindNet, BlindOptions, denoised_blind, fit_blind
from exitwave.images.denoising.linear import LinearFilter, LinearOptions, filtered_frames, fit_linear
from exitwave.images.movie import Denoised, DenoiseOptions, Denoiser, denoise, denoiser_arrays, denoiser_of
from exitwave.images.scores import Score, Whiteness, lost, paired_difference, range_psnr_dB, score, whiteness

__all__ = ["BlindNet", "BlindOptions", "DenoiseOptions", "Denoised", "Denoiser", "Drift", "LinearFilter", "LinearOptions", "Score", "ShiftedFrames",
           "Whiteness", "denoise", "denoised_blind", "denoiser_arrays", "denoiser_of", "drift_of", "filtered_frames", "fit_blind", "fit_linear",
           "lost", "movie_drift", "paired_difference", "range_psnr_dB", "score", "whiteness"]
