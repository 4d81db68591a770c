"""A phase image, its Fourier transform with the band that is not transferred, its transfer and its signal."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Circle

from exitwave.plot import figures
from exitwave.plot.spectra import Curve, full_plane, log_spectrum, middle_origin, radial, untransferred


def phase_figure(
    image: np.ndarray,
    *,
    pitch_A: tuple[float, float],
    ctf: np.ndarray,
    noise: np.ndarray,
    aperture_invA: float,
    title: str,
    rings: Curve | None = None,
    resolution_A: float | None = None,
) -> Figure:
    """Three panels: the phase (y, x) in rad; log |FFT| with everything hatched that is not transferred (|CTF| under 5 % of its maximum or
    beyond twice the aperture) and circles at one and two apertures; ring means of |CTF|, of signal over noise, and the half-set correlation.

    `ctf` and `noise` are half planes (y, x / 2 + 1) as `exitwave.recon.direct.DirectImage` holds them; `rings` is the half-set correlation.
    """
    made = figures.figure(14.4, 4.9)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.18, 1.12, 1.12))
    _phase(made, left, image, pitch_A)
    whole = full_plane(ctf, image.shape[1])
    _spectrum(middle, image, whole, pitch_A, aperture_invA)
    _curves(right, image, whole, full_plane(noise, image.shape[1]), pitch_A, aperture_invA, rings, resolution_A)
    made.suptitle(title, fontsize=12)
    return made


def show_phase(axes: Axes, image: np.ndarray, pitch_A: tuple[float, float], limits: tuple[float, float] | None = None) -> AxesImage:
    """A phase image with a scale bar; grey levels run from the 0.3rd to the 99.7th percentile unless limits are given."""
    low, high = limits or tuple(np.percentile(image, (0.3, 99.7)))
    shown = axes.imshow(image, cmap=figures.PHASE_MAP, vmin=low, vmax=max(high, low + 1e-12), aspect=pitch_A[0] / pitch_A[1])
    figures.scale_bar(axes, (image.shape[0], image.shape[1]), pitch_A)
    figures.bare(axes)
    return shown


def _phase(made: Figure, axes: Axes, image: np.ndarray, pitch_A: tuple[float, float]) -> None:
    shown = show_phase(axes, image, pitch_A)
    bar = made.colorbar(shown, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label("phase (rad)")
    axes.set_title("phase")


def _spectrum(axes: Axes, image: np.ndarray, ctf: np.ndarray, pitch_A: tuple[float, float], aperture_invA: float) -> None:
    ny, nx = image.shape
    size = log_spectrum(image)
    steps = 1 / (ny * pitch_A[0]), 1 / (nx * pitch_A[1])
    edges = [(-(n // 2) - 0.5) * step for n, step in ((nx, steps[1]), (ny, steps[0]))] + [
        ((n + 1) // 2 - 0.5) * step for n, step in ((nx, steps[1]), (ny, steps[0]))
    ]
    x0, y0, x1, y1 = edges
    low, high = np.percentile(size, (5, 99.9))
    axes.imshow(size, cmap=figures.SPECTRUM_MAP, extent=(x0, x1, y1, y0), vmin=low, vmax=high)
    lost = middle_origin(untransferred(ctf, pitch_A, 2 * aperture_invA))
    shade = np.where(lost, 1.0, np.nan)
    axes.imshow(shade, cmap=ListedColormap([figures.BLUE]), extent=(x0, x1, y1, y0), alpha=0.38, vmin=0, vmax=1)
    for factor, style in ((1, "--"), (2, "-")):
        axes.add_patch(Circle((0, 0), factor * aperture_invA, fill=False, ls=style, lw=1.2, color=figures.ORANGE))
    reach = min(min(x1, y1), 2.3 * aperture_invA)
    for factor, name in ((1, "α"), (2, "2α")):
        at = factor * aperture_invA * 0.7071
        if at < 0.93 * reach:
            axes.text(
                at,
                -at,
                name,
                color="black",
                ha="center",
                va="center",
                fontsize=9,
                bbox={"boxstyle": "round,pad=0.15", "fc": figures.ORANGE, "ec": "none", "alpha": 0.95},
            )
    axes.set(
        xlim=(-reach, reach),
        ylim=(reach, -reach),
        xlabel="$q_x$ (1/Å)",
        ylabel="$q_y$ (1/Å)",
        title="log |FFT|; blue: not transferred" + ("" if aperture_invA < reach else "\n(the aperture lies beyond the scan's band)"),
    )
    axes.locator_params(nbins=5)  # labels such as -0.75 touch where there are more


def _curves(
    axes: Axes,
    image: np.ndarray,
    ctf: np.ndarray,
    noise: np.ndarray,
    pitch_A: tuple[float, float],
    aperture_invA: float,
    rings: Curve | None,
    resolution_A: float | None,
) -> None:
    reach = min(0.5 / max(pitch_A), 2.3 * aperture_invA)
    transfer = radial(np.abs(ctf), pitch_A, reach)
    axes.plot(transfer.q_invA, transfer.value, color=figures.BLUE, lw=1.8, label="|CTF|")
    top = float(transfer.value.max(initial=0.0))
    if rings is not None:
        use = rings.q_invA <= reach
        seen = resolution_A is not None and 1 / resolution_A <= reach
        axes.plot(
            rings.q_invA[use],
            rings.value[use],
            color=figures.GREEN,
            lw=1.4,
            label="half-set FRC" + (f" (1/7 at {resolution_A:.3g} Å)" if seen else ""),
        )
        axes.axhline(1 / 7, color=figures.GREEN, lw=0.8, ls=":")
        if resolution_A is not None and seen:
            axes.axvline(1 / resolution_A, color=figures.GREEN, lw=0.8, ls=":")
        top = max(top, 1.0)
    for factor, name in ((1, "α"), (2, "2α")):
        if factor * aperture_invA <= reach:
            axes.axvline(factor * aperture_invA, color=figures.ORANGE, lw=1.0, ls="--" if factor == 1 else "-")
            axes.text(factor * aperture_invA, -0.13 * top, f"{name} ", color="black", ha="right", va="center", fontsize=9)
    axes.axhline(0, color=figures.GREY, lw=0.6)
    axes.set(xlim=(0, reach), ylim=(-0.2 * top, top * 1.45), xlabel="q (1/Å)", ylabel="transfer, correlation", title="transfer and signal")
    beside = axes.twinx()
    beside.spines["right"].set_visible(True)
    signal = ssnr(image, noise, pitch_A, reach)
    above = np.where(signal.value > 0.02, signal.value, np.nan)
    beside.semilogy(signal.q_invA, above, color=figures.RED, lw=1.2, alpha=0.9, label="signal over noise")
    beside.set_ylim(0.02, 10 ** (2.2 + np.log10(max(float(np.nanmax(above, initial=1.0)), 1.0))))
    beside.set_ylabel("signal over noise (power)", color=figures.RED)
    beside.tick_params(axis="y", labelcolor=figures.RED)
    lines = [*axes.get_lines()[: 2 if rings is not None else 1], beside.get_lines()[0]]
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="upper right", framealpha=0.85, borderpad=0.3)


def ssnr(image: np.ndarray, noise: np.ndarray, pitch_A: tuple[float, float], to_invA: float) -> Curve:
    """Ring means of (|F|^2 / pixels - noise) / noise, where `noise` (y, x) is the predicted variance of a coefficient over the count of pixels."""
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2 / image.size
    total, floor = radial(power, pitch_A, to_invA), radial(noise.real, pitch_A, to_invA)
    heard = floor.value > 1e-4 * floor.value.max(initial=0.0)  # where no weight acts there is neither signal nor noise
    value = np.where(heard, total.value / np.maximum(floor.value, 1e-300) - 1, 0.0)
    return Curve(q_invA=total.q_invA, value=value)
