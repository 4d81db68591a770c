"""From a file of noisy frames to a denoised movie on disk, with its scores."""

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any

import click
import numpy as np

from exitwave import __version__
from exitwave.cli.session import emit, peak_bytes, progress
from exitwave.cli.told import Making, command_line, made_from
from exitwave.core import InputError, record
from exitwave.data import Axis, ItemSource, Signal
from exitwave.images import Denoised, DenoiseOptions, Denoiser, Drift, ShiftedFrames, denoise, denoiser_arrays, denoiser_of, movie_drift
from exitwave.io import Plane, open_signal, read_result, write_result
from exitwave.io.convert import convert
from exitwave.io.writers.registry import writer_for


@record
class DenoiseAsked:
    """What a person asked for: options, a model file in place of a fit, whether drift is undone, the pixel size, how the file is opened."""

    options: DenoiseOptions
    model: str | None
    align: bool
    pixel_A: tuple[float, float] | None
    opening: Mapping[str, Any]


@record
class DenoiseOutputs:
    """Where things go."""

    movie: str
    png: str | None
    model: str | None

    def as_json(self) -> dict[str, str | None]:
        """Whole paths by the names of the flags."""
        named = (("output", self.movie), ("png", self.png), ("model", self.model))
        return {name: path and os.path.abspath(path) for name, path in named}


@record
class Made:
    """A denoised movie with its drift and what it cost."""

    movie: Denoised
    drift: Drift | None
    frames: ItemSource
    pitch_A: tuple[float, float] | None
    seconds: float = 0.0


def run(file: str, asked: DenoiseAsked, outputs: DenoiseOutputs, *, budget: int, force: bool, as_json: bool, making: Making) -> None:
    """Denoise, write, say what came out."""
    started = perf_counter()
    writer_for(outputs.movie, None)
    signal = _movie(open_signal(file, **asked.opening), asked.pixel_A)
    made = _denoised(signal, asked, budget)
    recipe = recipe_of(asked, made)
    kept = Signal(frames=made.frames, axes=signal.axes, calibration=signal.calibration, origin={**signal.origin, "corrections": recipe})
    with progress("denoise") as tick:
        convert(kept, outputs.movie, memory_bytes=budget, force=force, progress=tick)
    made = replace(made, seconds=perf_counter() - started)
    if outputs.png:
        _picture(signal, made, outputs.png, os.path.basename(file), force)
    if outputs.model:
        _save_model(signal, made, recipe, outputs.model, force, making)
    if as_json:
        emit({**outputs.as_json(), "method": made.movie.denoiser.method, "seconds": made.seconds, "peak_bytes": peak_bytes(),
              "pitch_A": made.pitch_A and list(made.pitch_A), "metrics": metrics_of(made)})
        return
    click.echo("\n".join(summary(made)))
    click.echo(f"  written to {', '.join(path for path in (outputs.movie, outputs.png, outputs.model) if path)}")


def metrics_of(made: Made) -> dict[str, Any]:
    """What scripts read: errors in counts^2, with the frames they come from."""
    movie, drift = made.movie, made.drift
    return {
        "frames": movie.frames.shape[0], "mean_counts": movie.looked.mean, "counts": movie.looked.counts, "fano": movie.fano,
        "mse": {"value": movie.score.value, "sigma": movie.score.sigma, "source": "measured"}, "scored_frames": movie.scored,
        "gain_dB": movie.gain_dB, "strongest_left_out": dict(zip(("frame", "y", "x", "sigma"), movie.strongest, strict=True)),
        "residual": {",".join(map(str, step)): c for step, c in zip(movie.residual.steps, movie.residual.correlation, strict=True)},
        "residual_sigma": movie.residual.sigma, "residual_white": movie.residual.white,
        "low_pass_edge_px": None if movie.denoiser.lowpass is None else movie.denoiser.lowpass.edge_px,
        "drift_px": None if drift is None else drift.shift_px.tolist(), "drift_residual_px": None if drift is None else drift.residual_px,
        "warnings": list(movie.warnings),
    }


def summary(made: Made) -> list[str]:
    """The words of a result."""
    movie = made.movie
    n, ny, nx = movie.frames.shape
    low = movie.score.value < 2 * movie.score.sigma
    error = f"below {max(movie.score.value, 0) + 2 * movie.score.sigma:.2g}" if low else f"{movie.score.value:.2g} +- {movie.score.sigma:.1g}"
    lines = [f"{movie.denoiser.method}: {n} frames of {ny} x {nx} pixels, {movie.looked.mean:.3g} counts a pixel, {made.seconds:.1f} s",
             f"  mean squared error {error} counts^2, from {movie.scored} frames; that of the noisy frames is about "
             f"{(movie.fano or 1.0) * movie.looked.mean:.2g}"]
    if made.drift is not None:
        span = float(np.hypot(*(made.drift.shift_px[-1] - made.drift.shift_px[0])))
        lines.append(f"  drift undone: {span:.1f} pixels from first to last frame, shifts agree within {made.drift.residual_px:.2g} pixels")
    return lines + [f"  note: {sentence}" for sentence in movie.warnings]


def recipe_of(asked: DenoiseAsked, made: Made) -> dict[str, Any]:
    """What makes the same movie again, kept in it."""
    return {"schema": 1, "kind": "denoise", "verb": "denoise", "version": __version__, "command": command_line(),
            "options": asdict(asked.options), "model": asked.model, "align": asked.align, "metrics": metrics_of(made)}  # type: ignore[call-overload]


def _movie(signal: Signal, pixel_A: tuple[float, float] | None) -> Signal:
    if signal.frames.item_axes != 2 or len(signal.shape) != 3 or signal.shape[0] < 2:
        raise InputError(f"{signal.origin.get('path', 'this')} is no movie", expected="frames (n, y, x), at least two",
                         got=f"{signal.kind} of shape {signal.shape}", remedy="a single image has no neighbours in time")
    if pixel_A is None:
        return signal
    time, y, x = signal.axes
    given = (Axis(name=axis.name, size=axis.size, scale=step, unit="A") for axis, step in ((y, pixel_A[0]), (x, pixel_A[1])))
    return replace(signal, axes=(time, *given))


def _denoised(signal: Signal, asked: DenoiseAsked, budget: int) -> Made:
    denoiser = None if asked.model is None else _loaded(asked.model)
    movie = denoise(signal.frames, asked.options, denoiser=denoiser, memory_bytes=budget)
    drift, frames = None, movie.frames
    made: ItemSource = frames
    if asked.align:
        drift = movie_drift(signal.frames, budget)
        made = ShiftedFrames(source=frames, drift=drift)
    known = all(axis.unit == "A" and axis.scale for axis in signal.axes[1:])
    pitch = (float(signal.axes[1].scale or 0), float(signal.axes[2].scale or 0)) if known else None
    return Made(movie=movie, drift=drift, frames=made, pitch_A=pitch)


def _loaded(path: str) -> Denoiser:
    kept = read_result(path).model
    if kept.get("kind") != "movie denoiser":
        raise InputError(f"{path} holds no denoiser of movies", remedy="exitwave denoise --save-model writes one")
    return denoiser_of(kept)


def _middle(signal: Signal, made: Made) -> tuple[int, np.ndarray, np.ndarray]:
    at = signal.shape[0] // 2
    return at, signal.frames.read(at, at + 1)[0].astype(np.float32), made.movie.frames.read(at, at + 1)[0]


def _picture(signal: Signal, made: Made, path: str, name: str, force: bool) -> None:
    from exitwave.plot import save
    from exitwave.plot.movie import movie_figure

    at, noisy, clean = _middle(signal, made)
    numbers = summary(made)[1].strip()
    figure = movie_figure(noisy, clean, pitch_A=made.pitch_A, title=f"{name}, {made.movie.denoiser.method} denoiser", numbers=numbers, number=at)
    save(figure, path, force)


def _save_model(signal: Signal, made: Made, recipe: Mapping[str, Any], path: str, force: bool, making: Making) -> None:
    provenance, facts = made_from(signal, making)
    _, noisy, clean = _middle(signal, made)
    pitch = made.pitch_A or (1.0, 1.0)
    planes = [Plane(name=name, array=image, pitch=pitch, unit="counts", title=title + ("" if made.pitch_A else ", axes in pixels"))
              for name, image, title in (("denoised", clean, "a frame, denoised"), ("noisy", noisy, "the same frame, as measured"))]
    write_result(path, images=planes, recipe=dict(recipe), calibration=signal.calibration, metrics=metrics_of(made), provenance=provenance,
                 facts=facts, model=denoiser_arrays(made.movie.denoiser), force=force)
