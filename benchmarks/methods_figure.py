"""A real scan through every direct method: `python benchmarks/methods_figure.py FILE docs/gallery/rotavirus_methods.png`, FILE being the rotavirus scan.

Prints a table of seconds, half-set correlation and phase; each image on its own scale of 0.5 to 99.5 %.
"""

import sys
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import torch

import exitwave
from exitwave.recon import calibrate, direct
from exitwave.recon.direct.corrected import corrected
from exitwave.signal import edge_taper, frc

UPSAMPLE = 2
SMOOTH_A = 40.0  # what is left out of the pictures, not of the figures


def main(file: str, picture: str) -> None:
    """Calibrate once, then make an image, its correlation of halves and a panel with every method."""
    data = exitwave.io.open(file)
    found = calibrate.calibrate(data)
    gain = found.calibration.need("counts_per_electron")
    geometry = direct.geometry(found.calibration, data.shape, torch.from_numpy(found.alive))
    figure, axes = plt.subplots(3, 4, figsize=(15, 11.5), layout="constrained")
    panels = axes.reshape(-1)
    print("| method | s | FRC, mean to the scan's Nyquist | 1/7 first at / A | phase rms / rad | after division by the transfer |\n|---|---|---|---|---|---|")
    for axis, method in zip(panels[:9], direct.METHODS, strict=True):
        started = perf_counter()
        made = direct.reconstruct(data.frames, geometry, method, upsample=UPSAMPLE, dispersion=gain, counts_per_electron=gain)
        seconds = perf_counter() - started
        rings = frc(made.halves[0].double(), made.halves[1].double(), made.pitch_A)
        nyquist = 0.5 / max(geometry.scan.pitch_A)
        resolution = rings.resolution_A()
        print(f"| `{method}` | {seconds:.1f} | {rings.mean(nyquist):.3f} | {f'{resolution:.3g}' if resolution else 'never'} | "
              f"{float(made.image.std()):.3f} | {float(corrected(made).image.std()):.3f} |")
        smooth = low_passed(made.image, made.pitch_A)
        low, high = np.percentile(smooth, (0.5, 99.5))
        axis.imshow(smooth, cmap="gray", vmin=low, vmax=high, extent=(0, made.pitch_A[1] * smooth.shape[1] / 1e4, made.pitch_A[0] * smooth.shape[0] / 1e4, 0))
        axis.set_title(f"{method}: {low:.2g} to {high:.2g} rad", fontsize=10)
        axis.set_xlabel("x / um")
        axis.set_ylabel("y / um")
        panels[9].plot(rings.q_invA.numpy(), rings.value.numpy(), label=method)
    panels[9].axhline(1 / 7, color="0.6", linewidth=0.8)
    panels[9].set(xlabel="q / (1/A)", ylabel="correlation of halves", ylim=(-0.2, 1.02))
    panels[10].legend(*panels[9].get_legend_handles_labels(), loc="upper left")
    for axis in panels[10:]:
        axis.axis("off")
    figure.savefig(picture, dpi=80)


def low_passed(image: torch.Tensor, pitch_A: tuple[float, float]) -> np.ndarray:
    """The image below 1 / SMOOTH_A (Gaussian), its slow background below 1 / 2500 A left out."""
    q2 = torch.fft.fftfreq(image.shape[0], pitch_A[0])[:, None] ** 2 + torch.fft.rfftfreq(image.shape[1], pitch_A[1]) ** 2
    keep = torch.exp(-0.5 * q2 * SMOOTH_A**2) * (1 - torch.exp(-0.5 * q2 * 2500.0**2))
    mean = image.double().mean()
    tapered = (image.double() - mean) * edge_taper((image.shape[0], image.shape[1]), 0.02)
    return torch.fft.irfft2(torch.fft.rfft2(tapered) * keep, s=image.shape).numpy()


if __name__ == "__main__":
    main(*sys.argv[1:3])
