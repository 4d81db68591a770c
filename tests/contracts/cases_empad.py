"""An encoder of EMPAD acquisitions for the readers' contract."""

from pathlib import Path
from typing import Any

import numpy as np

from exitwave.testing import ReaderCase


def description(raw: str, scan: tuple[int, int], more: str = "") -> str:
    return (f'<?xml version="1.0" encoding="utf-8"?><root><raw_file filename="E:\\data\\{raw}"/><type>scan</type>'
            f'<timestamp isoformat="2026-03-05T11:12:13"/><scan_parameters mode="search"><scan_resolution_x>64</scan_resolution_x>'
            f'<scan_resolution_y>64</scan_resolution_y></scan_parameters><scan_parameters mode="acquire"><scan_resolution_x>{scan[1]}'
            f"</scan_resolution_x><scan_resolution_y>{scan[0]}</scan_resolution_y></scan_parameters>{more}</root>")


def frames(array: np.ndarray) -> bytes:
    """Each frame with two rows of house-keeping after it."""
    flat = array.reshape(-1, 128, 128).astype("<f4")
    return b"".join(frame.tobytes() + np.full((2, 128), -i - 1, "<f4").tobytes() for i, frame in enumerate(flat))


def by_raw(path: Path, array: np.ndarray) -> dict[str, Any]:
    raw = path.with_suffix(".raw")
    raw.write_bytes(frames(array))
    path.with_name("acquisition.xml").write_text(description(raw.name, array.shape[:2]))
    return {"path": str(raw)}


def bare(path: Path, array: np.ndarray) -> dict[str, Any]:
    raw = path.with_suffix(".raw")
    raw.write_bytes(frames(array))
    return {"path": str(raw)}


def second_generation(path: Path, array: np.ndarray) -> dict[str, Any]:
    raw = path.with_suffix(".raw")
    raw.write_bytes(array.astype("<f4").tobytes())
    path.with_suffix(".xml").write_text(
        f"<root><scan><type>scan</type><shape>({array.shape[0]}, {array.shape[1]})</shape></scan><sensor><type>EMPAD2</type>"
        f"<shape>(128,128)</shape></sensor><rawfile><datatype>float32</datatype><filename>{raw.name}</filename><framecount>99</framecount></rawfile></root>")
    return {"path": str(raw)}


CASES = [
    ReaderCase(name="empad scan", reader="empad", write=by_raw, shape=(3, 2, 128, 128), dtypes=("float32",)),
    ReaderCase(name="empad stack without xml", reader="empad", write=bare, shape=(3, 128, 128), dtypes=("float32",)),
    ReaderCase(name="empad-g2 scan", reader="empad", write=second_generation, shape=(2, 3, 128, 128), dtypes=("float32",)),
]
