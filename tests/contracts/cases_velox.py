"""How spectra of Velox are written for the readers' contract: streams of photons, two detectors, two frames."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exitwave.testing import ReaderCase

DETECTORS = {f"Detector-{i}": {"DetectorName": f"SuperXG2{i}", "ElevationAngle": "0.314159", "AzimuthAngle": f"{0.785 + 1.571 * i:.4f}",
                               "Dispersion": "5", "OffsetEnergy": "-250", "CollectionAngle": "0.7"} for i in range(2)}


def velox(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Counts (y, x, channels) dealt to two detectors and two frames as photons, pixel by pixel."""
    dealt = np.random.default_rng(1).multinomial(array.reshape(-1).astype(np.int64), [0.25] * 4).T.reshape(2, 2, -1, array.shape[-1])
    text = json.dumps({"Optics": {"AccelerationVoltage": "200000"}, "Detectors": DETECTORS,
                       "BinaryResult": {"PixelSize": {"width": "2e-10", "height": "3e-10"}, "PixelUnitX": "m"}}).encode()
    settings = {"bincount": str(array.shape[-1]), "StreamEncoding": "uint16"}
    if array.ndim == 3:
        settings["RasterScanDefinition"] = {"Width": str(array.shape[1]), "Height": str(array.shape[0])}  # type: ignore[assignment]
    with h5py.File(path.with_suffix(".emd"), "w") as file:
        for d, frames in enumerate(dealt):
            group = file.create_group(f"Data/SpectrumStream/{d:032x}")
            values: list[int] = []
            for pixels in frames:
                for spectrum in pixels:
                    values += np.repeat(np.arange(len(spectrum)), spectrum).tolist() + ([65535] if array.ndim == 3 else [])
            group.create_dataset("Data", data=np.array(values, np.uint16)[:, None], chunks=(min(8192, len(values)), 1))
            group["Metadata"] = np.frombuffer(text.ljust(4000, b"\0"), np.uint8)[:, None]
            group["AcquisitionSettings"] = np.array([json.dumps(settings).encode()], dtype=h5py.string_dtype())
    return {"path": str(path.with_suffix(".emd"))}


CASES = [
    ReaderCase(name="Velox spectrum image", reader="emd_velox", write=velox, shape=(4, 5, 37), dtypes=("uint32",), item_axes=1),
    ReaderCase(name="Velox point spectrum", reader="emd_velox", write=velox, shape=(41,), dtypes=("uint32",), item_axes=1),
]
