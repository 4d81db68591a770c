"""The dose curves of docs/gallery: `python benchmarks/dose_figure.py benchmarks/results/dose_2cores_cpu.json docs/gallery/dose.png`."""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

PANELS = (
    ("error", "error after a factor for each ring", False),
    ("half_invA", "FRC with truth >= 1/2 up to (1/A)", False),
    ("ssnr", "SSNR from halves, mean of the band", True),
)
TITLES = {"MoS2": "MoS2 flake with defects, 80 kV, 20 mrad", "protein": "protein shell in ice, 300 kV, 4 mrad"}
MARKS = "osv^D<>Ph*X"


def main(results: str, picture: str) -> None:
    """Draw every method's error, resolution and SSNR against dose, with standard errors over the seeds."""
    rows = json.loads(Path(results).read_text(encoding="utf-8"))["cases"]
    specimens = list(dict.fromkeys(row["specimen"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows if row["method"] != "parallax"))  # as flipped-parallax but for its signs
    figure, axes = plt.subplots(len(PANELS), len(specimens), figsize=(10, 11), sharex=True, squeeze=False, layout="constrained")
    colours = plt.get_cmap("tab10")
    for column, specimen in enumerate(specimens):
        for axis, (key, title, logarithmic) in zip(axes[:, column], PANELS, strict=True):
            for number, method in enumerate(methods):
                mine = sorted((row for row in rows if row["specimen"] == specimen and row["method"] == method), key=lambda row: row["dose_e_per_A2"])
                shift = 1.025 ** (number - len(methods) / 2)  # so that marks do not hide one another
                axis.errorbar(
                    [row["dose_e_per_A2"] * shift for row in mine], [row[key] for row in mine], [row[f"{key}_standard_error"] or 0 for row in mine],
                    label=method, color=colours(number), marker=MARKS[number], markersize=5, linewidth=1.2, capsize=2,
                )
            axis.set_xscale("log")
            if logarithmic:
                axis.set_yscale("log")
                axis.set_ylim(bottom=0.02)
            axis.set_ylabel(title)
            axis.grid(alpha=0.3)
        axes[0, column].set_title(TITLES.get(specimen, specimen))
        axes[-1, column].set_xlabel("dose (e/A$^2$)")
    axes[0, 0].legend(fontsize=8, ncol=2)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:3])
