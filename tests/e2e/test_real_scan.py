"""The real cryo scan of rotavirus particles (skipped where the data folder is absent)."""

from pathlib import Path

import torch

from exitwave import io
from exitwave.recon import calibrate, direct
from exitwave.signal import frc


def test_rotavirus_from_file_to_particles(real_data: Path) -> None:
    data = io.open(f"{real_data / 'rotavirus_bin4_u16.h5'}::/dp")
    found = calibrate.calibrate(data)
    known = found.calibration
    assert -146e3 < known.need("C10_A") < -128e3  # underfocus 13.7 um to 7 %: likelihood and contrast differ by that much
    assert known.transpose.value is True
    assert "what scatters more" in str(known.twin.value)
    assert abs(known.need("fano") - 3.3) < 0.15  # 3.2 to 3.4 at every level of counts
    assert abs(known.need("semiangle_px") - 15.5) < 0.6

    geometry = direct.geometry(known, data.shape, torch.from_numpy(found.alive))
    image = direct.reconstruct(
        data.frames, geometry, "ssb", dispersion=known.need("counts_per_electron"), counts_per_electron=known.need("counts_per_electron")
    )
    ring = frc(*image.halves, image.pitch_A)
    assert ring.mean(0.012) > 0.97
    # Gold fiducials and particles stand out in positive phase: the brightest spots are farther from the median than the darkest.
    low, middle, high = (float(v) for v in torch.quantile(image.image.to(torch.float64), torch.tensor([0.001, 0.5, 0.999], dtype=torch.float64)))
    assert high - middle > 1.2 * (middle - low)
