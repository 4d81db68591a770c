"""A fit in pictures: phase, probe modes with their powers, losses, positions, what the model leaves."""

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from exitwave.core import record
from exitwave.plot import figures
from exitwave.plot.phase import show_phase
from exitwave.plot.spectra import Curve, log_spectrum

MOST_MODES, MOST_SLICES = 6, 8


@record
class FitView:
    """What pictures show. `slices` (z, y, x) and `phase` (y, x) in rad; `probe` (m, y, x) complex, corner origin, with `shares` (m,) of
    the power; `history` figures by name; `positions_A` (n, 2) as given and `moved_A` (n, 2) what the fit added; `loss_of_pattern` (n,);
    `residual_of_pixel` (ky, kx)."""

    title: str
    phase: np.ndarray
    slices: np.ndarray
    pitch_A: tuple[float, float]
    probe: np.ndarray
    shares: np.ndarray
    probe_pitch_A: tuple[float, float]
    history: Mapping[str, list[float]]
    positions_A: np.ndarray
    moved_A: np.ndarray
    loss_of_pattern: np.ndarray
    raster: tuple[int, int] | None
    residual_of_pixel: np.ndarray
    edge_invA: float
    rings: Curve | None = None
    resolution_A: float | None = None


def fit_figure(view: FitView) -> Figure:
    """Six panels: phase, its Fourier transform, the strongest probe mode; losses, positions or losses over the scan, residuals over the detector."""
    made = figures.figure(14.4, 9.0)
    (phase, spectrum, probe), (losses, scan, detector) = made.subplots(2, 3)
    bar = made.colorbar(show_phase(phase, view.phase, view.pitch_A), ax=phase, fraction=0.046, pad=0.02)
    bar.set_label("phase (rad)")
    phase.set_title("phase" if len(view.slices) == 1 else f"phase, sum of {len(view.slices)} slices")
    _spectrum(spectrum, view)
    _probe(probe, view, 0)
    _losses(losses, view)
    _scan(made, scan, view)
    _detector(made, detector, view)
    made.suptitle(view.title, fontsize=12)
    return made


def phase_panel(view: FitView) -> Figure:
    """The phase alone, large, with a scale bar."""
    ny, nx = view.phase.shape
    made = figures.figure(7.6, float(np.clip(6.2 * ny * view.pitch_A[0] / (nx * view.pitch_A[1]), 3.0, 9.0)))
    axes = made.subplots()
    made.colorbar(show_phase(axes, view.phase, view.pitch_A), ax=axes, fraction=0.046, pad=0.02).set_label("phase (rad)")
    return made


def slices_figure(view: FitView) -> Figure:
    """Up to eight slices from the entrance to the exit, on one scale."""
    pick = np.unique(np.linspace(0, len(view.slices) - 1, min(MOST_SLICES, len(view.slices))).astype(int))
    centred = view.slices - view.slices.mean((1, 2), keepdims=True)
    low, high = (float(v) for v in np.percentile(centred, (0.3, 99.7)))
    return _row(len(pick), 4, lambda axes, i: _slice(axes, view, centred, int(pick[i]), (low, high)))


def probes_figure(view: FitView) -> Figure:
    """Up to six probe modes: brightness is amplitude, colour is phase."""
    return _row(min(MOST_MODES, len(view.probe)), 3, lambda axes, i: _probe(axes, view, i))


def losses_figure(view: FitView) -> Figure:
    """Losses over the iterations, and the half-set correlation where there is one."""
    made = figures.figure(7.6 if view.rings is None else 11.4, 3.6)
    if view.rings is None:
        _losses(made.subplots(), view)
        return made
    left, right = made.subplots(1, 2)
    _losses(left, view)
    right.plot(view.rings.q_invA, view.rings.value, color=figures.GREEN, lw=1.5)
    right.axhline(1 / 7, color=figures.GREY, lw=0.8, ls=":")
    title = "half-set correlation" + (f", 1/7 at {view.resolution_A:.3g} Å" if view.resolution_A else "")
    right.set(xlabel="q (1/Å)", ylabel="correlation", ylim=(min(-0.1, float(view.rings.value.min())), 1.05), title=title)
    return made


def positions_figure(view: FitView) -> Figure:
    """Positions, with what the fit added to them as arrows; losses over the scan beside them."""
    made = figures.figure(11.4, 4.6)
    left, right = made.subplots(1, 2)
    _positions(left, view)
    _scan(made, right, view)
    return made


def residuals_figure(view: FitView) -> Figure:
    """What the model leaves over the detector, and how the losses of patterns are spread."""
    made = figures.figure(11.4, 4.2)
    left, right = made.subplots(1, 2)
    _detector(made, left, view)
    right.hist(view.loss_of_pattern, bins=min(60, max(8, len(view.loss_of_pattern) // 12)), color=figures.BLUE, alpha=0.85)
    right.set(xlabel="loss of a pattern", ylabel="patterns", title="losses of all patterns")
    return made


def _row(count: int, across: int, draw: Callable[[Axes, int], None]) -> Figure:
    columns = min(count, across)
    rows = -(-count // columns)
    made = figures.figure(3.4 * columns, 3.5 * rows)
    panels = made.subplots(rows, columns, squeeze=False).ravel()
    for i, axes in enumerate(panels):
        if i < count:
            draw(axes, i)
        else:
            axes.set_visible(False)
    return made


def _slice(axes: Axes, view: FitView, centred: np.ndarray, i: int, limits: tuple[float, float]) -> None:
    show_phase(axes, centred[i], view.pitch_A, limits)
    axes.set_title(f"slice {i + 1} of {len(centred)}")


def _probe(axes: Axes, view: FitView, i: int) -> None:
    mode = np.fft.fftshift(view.probe[i])
    size = np.abs(mode)
    top = max(float(np.percentile(size, 99.9)), 1e-30)
    colour = np.stack([(np.angle(mode) / (2 * np.pi)) % 1, np.full(mode.shape, 0.85), np.clip(size / top, 0, 1)], -1)
    axes.imshow(hsv_to_rgb(colour), aspect=view.probe_pitch_A[0] / view.probe_pitch_A[1])
    figures.scale_bar(axes, (mode.shape[0], mode.shape[1]), view.probe_pitch_A)
    figures.bare(axes)
    axes.set_title(f"probe mode {i + 1}: {view.shares[i]:.1%} of the power" if len(view.probe) > 1 else "probe (colour: its phase)")


def _spectrum(axes: Axes, view: FitView) -> None:
    (ny, nx), (py, px) = view.phase.shape, view.pitch_A
    size = log_spectrum(view.phase)
    low, high = np.percentile(size, (5, 99.9))
    edges = [(-(n // 2) - 0.5) / (n * p) for n, p in ((nx, px), (ny, py))] + [((n + 1) // 2 - 0.5) / (n * p) for n, p in ((nx, px), (ny, py))]
    axes.imshow(size, cmap=figures.SPECTRUM_MAP, extent=(edges[0], edges[2], edges[3], edges[1]), vmin=low, vmax=high)
    angle = np.linspace(0, 2 * np.pi, 181)
    for factor, style in ((1, "--"), (2, "-")):
        radius = factor * view.edge_invA
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), style, color=figures.ORANGE, lw=1.2, label="α" if factor == 1 else "2α")
    reach = min(edges[2], edges[3])
    axes.legend(loc="upper right")
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), xlabel="$q_x$ (1/Å)", ylabel="$q_y$ (1/Å)", title="log |FFT| of the phase")
    axes.locator_params(nbins=5)


def _losses(axes: Axes, view: FitView) -> None:
    names = {"loss": ("of patterns that are fitted", figures.BLUE), "held_out": ("of patterns held out", figures.RED)}
    for name, (label, colour) in names.items():
        if view.history.get(name):
            turns = np.arange(1, len(view.history[name]) + 1)
            axes.plot(turns, view.history[name], color=colour, lw=1.5, marker="." if len(turns) < 60 else "", label=label)
    values = np.concatenate([np.asarray(v) for v in view.history.values()]) if view.history else np.ones(1)
    if values.min() > 0 and values.max() > 3 * values.min():
        axes.set_yscale("log")
    axes.set(xlabel="iteration", ylabel="loss of a pattern", title="loss")
    axes.locator_params(axis="x", integer=True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right")


def _scan(made: Figure, axes: Axes, view: FitView) -> None:
    low, high = (float(v) for v in np.percentile(view.loss_of_pattern, (0.5, 99.5)))
    y, x = view.positions_A.T
    size = float(np.clip(1.5e4 / max(1, len(y)), 1.0, 60.0))
    shown: ScalarMappable
    if view.raster is None:
        shown = axes.scatter(x, y, c=view.loss_of_pattern, s=size, cmap=figures.PATTERN_MAP, vmin=low, vmax=max(high, low + 1e-12))
        axes.set(aspect="equal", ylim=(float(y.max()), float(y.min())))
    else:
        extent = (float(x.min()), float(x.max()), float(y.max()), float(y.min()))
        image = view.loss_of_pattern.reshape(view.raster)
        shown = axes.imshow(image, extent=extent, cmap=figures.PATTERN_MAP, vmin=low, vmax=max(high, low + 1e-12))
    made.colorbar(shown, ax=axes, fraction=0.046, pad=0.02)
    axes.set(xlabel="x (Å)", ylabel="y (Å)", title="loss of each pattern")


def _positions(axes: Axes, view: FitView) -> None:
    y, x = view.positions_A.T
    rms = float(np.sqrt((view.moved_A**2).sum(1).mean()))
    if rms == 0:
        axes.plot(x, y, ".", ms=float(np.clip(140 / len(y) ** 0.5, 0.6, 5)), color=figures.BLUE)
    else:
        step = max(1, len(y) // 900)
        shown = np.s_[::step]
        axes.quiver(x[shown], y[shown], view.moved_A[shown, 1], view.moved_A[shown, 0], angles="xy", color=figures.BLUE, width=0.003)
    axes.set(aspect="equal", xlabel="x (Å)", ylabel="y (Å)", ylim=(float(y.max() + 1e-9), float(y.min() - 1e-9)),
             title="positions (not fitted)" if rms == 0 else f"positions: arrows are corrections, not to scale, {rms:.2g} Å rms")


def _detector(made: Figure, axes: Axes, view: FitView) -> None:
    shown = view.residual_of_pixel
    top = max(float(np.percentile(np.abs(shown), 98)), 1e-12)
    made.colorbar(axes.imshow(shown, cmap="RdBu_r", vmin=-top, vmax=top), ax=axes, fraction=0.046, pad=0.02)
    figures.bare(axes)
    axes.set_title("1 - counted / expected, mean of each pixel")
