"""Images from electrons one by one over the dose, and how their error falls: python benchmarks/live_dose_figure.py PICTURE.png

A flake of MoS2, 80 kV, 20 mrad, overfocus 10 nm, 0.4 A steps, from 1 to 1e4 e/A^2, three seeds: electrons into the count cube, its OBF image
beside that of the expected counts (noise alone) and beside the true phase times the transfer (noise and what a linear method leaves out).
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from exitwave.bench.dose import flake
from exitwave.bench.scans import Means, drawn, means_of
from exitwave.core.threads import set_threads
from exitwave.data import ArrayFrames
from exitwave.live import Microscope, watch
from exitwave.plot import figures, save
from exitwave.plot.phase import show_phase
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import geometry
from exitwave.recon.live import live_phase

DOSES, SEEDS, SIDE, METHOD = (1.0, 10.0, 100.0, 1e3, 1e4), 3, 64, "obf"


def image_of(means: Means, dose: float, seed: int) -> np.ndarray:
    """The image of a dose, from its electrons."""
    counts = drawn(means, dose, seed)
    g = geometry(means.calibration, counts.shape)
    ended = watch(Microscope(ArrayFrames(array=counts), seed=seed), {"phase": live_phase(g, METHOD)}, counts.shape)
    made: np.ndarray = ended.results["phase"].image.numpy()
    return made


def main(picture: str) -> None:
    """Measure, print, draw."""
    set_threads()
    with tempfile.TemporaryDirectory() as folder:
        means = means_of(flake(Path(folder), SIDE))
    g = geometry(means.calibration, means.frames.shape)
    dense = reconstruct(ArrayFrames(array=means.frames), g, METHOD)
    clean = dense.image.numpy()
    u = means.upsample
    truth = np.fft.irfft2(np.fft.rfft2(means.truth)[np.r_[: SIDE // 2, -(SIDE // 2) : 0], : SIDE // 2 + 1] / u**2 * dense.ctf.numpy(), s=clean.shape)
    images = {dose: [image_of(means, dose, seed) for seed in range(SEEDS)] for dose in DOSES}
    rows = []
    for dose, made in images.items():
        noise = [float(np.sqrt(((one - clean) ** 2).mean())) for one in made]
        both = [float(np.sqrt(((one - truth - (one - truth).mean()) ** 2).mean())) for one in made]
        rows.append({"dose_e_per_A2": dose, "noise_rad": float(np.mean(noise)), "error_rad": float(np.mean(both)), "sigma": float(np.std(noise))})
    slope, _ = np.polyfit(np.log([row["dose_e_per_A2"] for row in rows]), np.log([row["noise_rad"] for row in rows]), 1)
    sys.stdout.write(json.dumps({"slope": float(slope), "rms_of_clean_rad": float(clean.std()), "rows": rows}, indent=1) + "\n")
    made = figures.figure(15.0, 3.6)
    panels = made.subplots(1, 5)
    for axes, dose in zip(panels, DOSES[1:], strict=False):
        show_phase(axes, images[dose][0], g.scan.pitch_A)
        axes.set_title(f"{dose:g} e/Å²")
    last, doses = panels[4], np.array(DOSES)
    last.loglog(doses, [row["noise_rad"] for row in rows], "o-", color=figures.BLUE, label="against the image without noise")
    last.loglog(doses, [row["error_rad"] for row in rows], "s-", color=figures.ORANGE, label="against the truth × transfer")
    last.loglog(doses, rows[0]["noise_rad"] * doses**-0.5, "--", color=figures.GREY, lw=1, label="dose$^{-1/2}$")
    last.set(xlabel="dose, e/Å²", ylabel="rms error, rad", title="OBF, electron by electron")
    last.legend(loc="lower left", fontsize=7)
    save(made, picture, True)


if __name__ == "__main__":
    main(sys.argv[1])
