"""Movies denoised: against known truth, over dose and motion, with scores that need no truth; seconds against the machine's matrix product."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, maximum_filter, shift

from exitwave.bench.registry import Options, Row
from exitwave.core.seeds import generator_at
from exitwave.core.threads import set_threads
from exitwave.images import BlindOptions, denoised_blind, filtered_frames, fit_blind, fit_linear, lost, range_psnr_dB, score
from exitwave.images.denoising.lowpass import low_pass
from exitwave.io import open_signal
from exitwave.simulate.movie import MovieRecipe, simulate_movie

CLEAN = "PtNp2-S3_5_240slc_1024x1024_6nmDefocus.tif"
MOTIONS = ("drift", "random-walk", "rotating", "transforming", "event")
DOSES = (0.1, 0.3, 1.0, 3.0, 10.0)
INNER = slice(2, -2)  # frames with both neighbours, which the published figures count
SEED = 7
DATA = "EXITWAVE_DATA"
Denoise = Callable[[np.ndarray], Iterator[np.ndarray]]


def rows(options: Options) -> list[Row]:
    """Truth, motions, doses, scores, columns, seconds."""
    set_threads(options.threads)
    found: list[Row] = []
    clean = published()
    if clean is not None:
        found += [_truth("clean frame of the data folder, 12 x 384 x 384, drift 1.0/0.6", clean, 1.0)]
        found += doses(clean, "clean frame of the data folder")
        found.append(columns(clean, "clean frame of the data folder"))
    movies = {motion: simulate_movie(MovieRecipe(motion=motion)) for motion in MOTIONS}
    found += [_truth(f"simulated Pt on CeO2, {motion}, 12 x 256 x 256", movie.mean, 1.0, movie.event_px) for motion, movie in movies.items()]
    gold = simulate_movie(MovieRecipe(specimen="Au-carbon", motion="drift"))
    found.append(_truth("simulated Au on carbon, drift, 12 x 256 x 256", gold.mean, 1.0))
    found += doses(movies["drift"].mean, "simulated Pt on CeO2", simulate_movie(MovieRecipe(defocus_A=160.0)).mean)
    found += events(movies["event"].mean, movies["event"].event_px or (0, 0, 0))
    found.append(columns(movies["drift"].mean, "simulated Pt on CeO2"))
    return [*found, honest(movies["drift"].mean, options.runs or 130), *seconds(movies["drift"].mean)]


def published(frames: int = 12, side: int = 384) -> np.ndarray | None:
    """The clean frame of the data folder (EXITWAVE_DATA) as a movie of mean counts that drifts by 1.0 and 0.6 pixels a frame; None: not there."""
    file = Path(os.environ.get(DATA, "../shared/data")) / CLEAN
    if not file.exists():
        return None
    clean = open_signal(str(file)).frames.read(0, 1)[0].astype(np.float64)
    top, left = ((n - side) // 2 for n in clean.shape)
    moved = (shift(clean, (-1.0 * t, -0.6 * t), order=3, mode="nearest") for t in range(frames))
    return np.array([frame[top : top + side, left : left + side] for frame in moved])


def drawn(mean: np.ndarray, dose: float, draw: int = 0) -> np.ndarray:
    """Counts at `dose` times the movie's own dose."""
    return generator_at(SEED, draw, 31).poisson(mean * dose).astype(np.uint16)


def _truth(case: str, mean: np.ndarray, dose: float, event: tuple[int, int, int] | None = None) -> Row:
    noisy = drawn(mean, dose)
    began = perf_counter()
    linear = fit_linear(noisy)
    linear_s = perf_counter() - began
    trained = fit_blind(noisy)
    blind_s = perf_counter() - began - linear_s
    methods: dict[str, Denoise] = {"linear": lambda y: filtered_frames(y, linear), "blind": lambda y: denoised_blind(y, trained.net)}
    made = {name: np.array(list(method(noisy))) / dose for name, method in methods.items()}
    for name, method in methods.items():
        passed = low_pass(noisy, method)
        made[f"{name} + low-pass"] = np.array([passed(frame) for frame in made[name]])
    made["best Gaussian"] = max((gaussian_filter(noisy / dose, (0, s, s)) for s in (1, 1.5, 2, 3, 4, 6)), key=lambda f: range_psnr_dB(f, mean))
    made["noisy"] = noisy / dose
    row: Row = {"case": case, "counted": "range-PSNR in dB: range of the clean movie squared over the mean squared error",
                "electrons_per_px": float(mean.mean() * dose), "seed": SEED,
                "psnr_inner_dB": {name: range_psnr_dB(f[INNER], mean[INNER]) for name, f in made.items()},
                "psnr_all_dB": {name: range_psnr_dB(f, mean) for name, f in made.items()},
                "fit_s": {"linear": linear_s, "blind": blind_s}, "weights": trained.net.weights, "kept_head": trained.kept_head}
    if event is not None:
        row["event_peak_kept"] = {name: _kept(f, mean, event) for name, f in made.items()}
    return row


def events(mean: np.ndarray, event: tuple[int, int, int]) -> list[Row]:
    """A column that is there in one frame alone: how much of it is kept, and how clearly the residual shows what is not."""
    found: list[Row] = []
    t, y, x = event
    for dose in (1.0, 3.0, 10.0, 30.0):
        noisy = drawn(mean, dose, 4)
        linear = np.array(list(filtered_frames(noisy, fit_linear(noisy))))
        net = fit_blind(noisy).net
        blind = np.array(list(denoised_blind(noisy, net)))
        sigma = {name: lost(f[t], noisy[t])[y - 3 : y + 4, x - 3 : x + 4] for name, f in (("linear", linear), ("blind", blind))}
        found.append({"case": f"event of one frame, dose x {dose:g}", "counted": "share of the column that is kept; standard errors of the rest",
                      "seed": SEED, "event_peak_kept": {"linear": _kept(linear / dose, mean, event), "blind": _kept(blind / dose, mean, event)},
                      "left_out_sigma": {name: float(s.flat[np.abs(s).argmax()]) for name, s in sigma.items()}})
    return found


def _kept(found: np.ndarray, mean: np.ndarray, event: tuple[int, int, int]) -> float:
    """How much of the event's column is there: regression of what the frame has beyond the mean of its neighbours on the truth's, around it."""
    t, y, x = event
    near = np.s_[y - 6 : y + 7, x - 6 : x + 7]
    truth = mean[t][near] - (mean[t - 1][near] + mean[t + 1][near]) / 2
    here = found[t][near] - (found[t - 1][near] + found[t + 1][near]) / 2
    return float((here * truth).sum() / (truth**2).sum())


def doses(mean: np.ndarray, name: str, other_focus: np.ndarray | None = None) -> list[Row]:
    """Fitted at the movie's own dose, applied from a tenth to ten times of it, beside one that is fitted there; and at another focus."""
    own = {"linear": fit_linear(drawn(mean, 1.0)), "blind": fit_blind(drawn(mean, 1.0)).net}
    found: list[Row] = []
    for dose in DOSES:
        noisy = drawn(mean, dose, 1)
        there = {"linear": fit_linear(noisy), "blind": fit_blind(noisy).net}
        found.append({"case": f"dose x {dose:g}, {name}", "counted": "range-PSNR in dB, inner frames", "seed": SEED,
                      "kept_model_dB": {k: _psnr(noisy, mean, dose, net) for k, net in own.items()},
                      "fitted_there_dB": {k: _psnr(noisy, mean, dose, net) for k, net in there.items()}})
    if other_focus is not None:
        noisy = drawn(other_focus, 1.0, 2)
        found.append({"case": f"defocus 10 nm away, {name}", "counted": "range-PSNR in dB, inner frames", "seed": SEED,
                      "kept_model_dB": {k: _psnr(noisy, other_focus, 1.0, net) for k, net in own.items()},
                      "fitted_there_dB": {"linear": _psnr(noisy, other_focus, 1.0, fit_linear(noisy)),
                                          "blind": _psnr(noisy, other_focus, 1.0, fit_blind(noisy).net)}})
    return found


def _psnr(noisy: np.ndarray, mean: np.ndarray, dose: float, net: object) -> float:
    from exitwave.images import LinearFilter

    made = filtered_frames(noisy, net) if isinstance(net, LinearFilter) else denoised_blind(noisy, net)  # type: ignore[arg-type]
    return range_psnr_dB(np.array(list(made))[INNER] / dose, mean[INNER])


def columns(mean: np.ndarray, name: str, electrons: float = 4.3) -> Row:
    """Positions of atom columns in denoised frames and in Gaussian-smoothed ones (the best width), against those in the clean frames."""
    dose = electrons / float(mean.mean())
    noisy = drawn(mean, dose, 3)
    net = fit_blind(noisy).net
    made = {"linear": np.array(list(filtered_frames(noisy, fit_linear(noisy)))) / dose, "blind": np.array(list(denoised_blind(noisy, net))) / dose}
    smooth = {s: gaussian_filter(noisy / dose, (0, s, s)) for s in (0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)}
    sign = 1.0 if mean.max() - np.median(mean) > np.median(mean) - mean.min() else -1.0
    truth = [_places(sign * frame) for frame in mean]

    def errors(found: np.ndarray) -> np.ndarray:
        return np.concatenate([_vertex(sign * f, p) - _vertex(sign * m, p) for f, m, p in zip(found, mean, truth, strict=True)])[..., :]

    error = {k: errors(f) for k, f in made.items()}
    rivals = {s: errors(f) for s, f in smooth.items()}
    best = min(rivals, key=lambda s: _rms(rivals[s]))
    return {"case": f"column positions at {electrons} e/px, {name}", "counted": "pixels, vertex of a parabola over 9 x 9 pixels", "seed": SEED,
            "columns": int(sum(map(len, truth))), "rms_px": {k: _rms(e) for k, e in error.items()}, "rms_gaussian_px": _rms(rivals[best]),
            "gaussian_px": best, "bias_px": {k: [float(v) for v in np.nanmean(e, 0)] for k, e in error.items()},
            "rms_over_gaussian": {k: _rms(e) / _rms(rivals[best]) for k, e in error.items()}}


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(error**2)))


def _places(frame: np.ndarray) -> np.ndarray:
    """(n, 2) pixels of maxima that stand out, away from the edges."""
    smooth = gaussian_filter(frame, 2.0)
    tops = (smooth == maximum_filter(smooth, 13)) & (smooth > np.median(smooth) + 0.35 * (smooth.max() - np.median(smooth)))
    at = np.argwhere(tops)
    return at[((at > 12) & (at < np.array(frame.shape) - 13)).all(1)]


def _vertex(frame: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The vertex (n, 2) of a least-squares parabola over 9 x 9 pixels around each place; NaN where there is none within four pixels."""
    v, u = (g.reshape(-1).astype(float) for g in np.mgrid[-4:5, -4:5])
    solve = np.linalg.pinv(np.stack([np.ones(81), v, u, v * v, v * u, u * u], 1))
    found = np.full((len(places), 2), np.nan)
    for i, (y, x) in enumerate(places):
        _, b, c, d, e, f = solve @ frame[y - 4 : y + 5, x - 4 : x + 5].reshape(-1)
        if d < 0 and f < 0 and 4 * d * f > e * e:
            step = np.linalg.solve([[2 * d, e], [e, 2 * f]], [-b, -c])
            if np.abs(step).max() <= 4:
                found[i] = step
    return found


def honest(mean: np.ndarray, draws: int) -> Row:
    """The score without truth beside the true error, over many draws of one movie with a filter that was fitted to another draw."""
    linear = fit_linear(drawn(mean, 1.0))
    true, parts, pixels = 0.0, [], 0
    for i in range(draws):
        noisy = drawn(mean, 1.0, 100 + i)
        clean = list(filtered_frames(noisy, linear))
        parts.append(score(zip(clean, noisy, strict=True)))
        true += float(np.mean((np.array(clean) - mean) ** 2)) / draws
        pixels += noisy.size
    value, sigma = float(np.mean([p.value for p in parts])), float(np.sqrt(np.sum([p.sigma**2 for p in parts]))) / draws
    return {"case": "score without truth", "counted": f"mean squared error over {pixels / 1e6:.0f} Mpx", "seed": SEED, "true_mse": true,
            "score": value, "sigma": sigma, "off_in_sigma": (value - true) / sigma}


def seconds(mean: np.ndarray) -> list[Row]:
    """A frame of 1024 x 1024, the best of several, beside the machine's matrix product on as many threads."""
    small = drawn(mean, 1.0)
    movie = np.tile(small, (1, -(-1024 // small.shape[1]), -(-1024 // small.shape[2])))[:, :1024, :1024]
    movie = np.ascontiguousarray(movie[:8])
    began = perf_counter()
    linear = fit_linear(movie)
    linear_fit = perf_counter() - began
    began = perf_counter()
    net = fit_blind(movie, BlindOptions()).net
    training = perf_counter() - began
    ceiling = _gemm()
    taps, uneven = linear.taps[-1, -1].size, net.uneven.taps[-1, -1].size
    blur = 2 * 81 + sum(layer.size for layer in net.head)
    flops = {"linear": 2 * taps * 1024**2, "blind": 2 * (taps + uneven + sum(e.taps.size for e in net.even) + blur) * 1024**2}
    makers: dict[str, Denoise] = {"linear": lambda y: filtered_frames(y, linear), "blind": lambda y: denoised_blind(y, net)}
    found: list[Row] = []
    for name, maker in makers.items():
        best = _per_frame(maker, movie)
        found.append({"case": f"{name}, a frame of 1024 x 1024", "counted": "the fastest frame of a movie that is running", "ours_s": best,
                      "gflop": flops[name] / 1e9, "gflop_per_s": flops[name] / best / 1e9, "gemm_gflop_per_s": ceiling,
                      "fit_s": linear_fit if name == "linear" else training, "fit_frames": len(movie)})
    return found


def _per_frame(maker: Denoise, movie: np.ndarray) -> float:
    times, made = [], maker(np.concatenate([movie] * 2))
    for _ in range(3):
        next(made)
    for _ in range(2 * len(movie) - 6):
        began = perf_counter()
        next(made)
        times.append(perf_counter() - began)
    return min(times)


def _gemm(side: int = 1024) -> float:
    a, b = torch.randn(side, side), torch.randn(side, side)
    times = []
    for _ in range(8):
        began = perf_counter()
        a @ b
        times.append(perf_counter() - began)
    return 2 * side**3 / min(times) / 1e9


