"""Guide functions kept on disk by the hash of their recipe."""

import hashlib
import os
import tempfile
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from exitwave.core.errors import InputError
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.linear import Filter
from exitwave.recon.direct.normal import tiles_of
from exitwave.recon.live.guides import Guides, make_guides

VERSION = 3  # of what a recipe makes; another one makes other files
ARRAYS = ("pixels", "light", "counted", "stencils", "corner", "power", "lost", "ctf", "ctf_lost")
MOST_BYTES = 4 * 2**30


def library(cache_dir: Path, g: Geometry, method: str, *, upsample: int = 1, half_width: tuple[int, int] | None = None, phases: int = 1,
            finite_pixels: bool = True, ridge: float | None = None, memory_bytes: int = 2**30, dtype: torch.dtype = torch.complex64,
            most_bytes: int = MOST_BYTES) -> Guides:
    """`exitwave.recon.live.guides.make_guides`, from a file of `cache_dir` where one of the same recipe is there, else made and written.

    A file appears complete or not at all (it is renamed into place); a damaged one is made again. Files used longest ago go where all together
    are larger than `most_bytes`.

    Raises:
        InputError: a folder that cannot be made or written to; as `make_guides`.
        MemoryBudgetError: as `make_guides`.
    """
    path = cache_dir / f"guides-{recipe_hash(g, method, upsample, half_width, phases, finite_pixels, ridge, dtype)}.npz"
    found = _read(path, g, method, upsample, phases)
    if found is not None:
        path.touch()
        return found
    made = make_guides(g, method, upsample=upsample, half_width=half_width, phases=phases, finite_pixels=finite_pixels, ridge=ridge,
                       memory_bytes=memory_bytes, dtype=dtype)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        _write(path, made)
        _pruned(cache_dir, path, most_bytes)
    except OSError as error:
        raise InputError("guide functions cannot be kept in this folder", got=str(cache_dir),
                         remedy=f"{error.strerror}: choose another one") from error
    return made


def recipe_hash(g: Geometry, method: str, upsample: int, half_width: tuple[int, int] | None, phases: int, finite_pixels: bool, ridge: float | None,
                dtype: torch.dtype) -> str:
    """Of everything that guide functions depend on, 32 hexadecimal digits."""
    lens = sorted(zip(g.aberrations.terms, g.aberrations.values_A.to(torch.float64).tolist(), strict=True))
    words = (VERSION, method, upsample, half_width, phases, finite_pixels, ridge, str(dtype), g.beam.energy_eV, lens, g.scan.shape, g.scan.pitch_A,
             g.edge_invA, g.axes_invA.tolist(), g.frame, g.source_A, g.focal_spread_A)
    digest = hashlib.sha256(repr(words).encode())
    digest.update(np.ascontiguousarray(g.k_invA.numpy()).tobytes())
    digest.update(np.ascontiguousarray(g.good.numpy()).tobytes())
    return digest.hexdigest()[:32]


def _write(path: Path, guides: Guides) -> None:
    extra = {} if guides.noise is None else {"noise": guides.noise}
    if guides.filter is not None:
        extra["filter"] = guides.filter.values.numpy()
        extra["tiled"] = np.array(guides.filter.tiles is not None)
    handle, name = tempfile.mkstemp(prefix=".guides-", suffix=".npz", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            plain = {name: np.array(getattr(guides, name)) for name in ("mean_kept", "canvas", "grid", "table")}
            np.savez(file, **plain, **{field: getattr(guides, field) for field in ARRAYS}, **extra)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read(path: Path, g: Geometry, method: str, upsample: int, phases: int) -> Guides | None:
    """What a file holds; None where there is none, or it is damaged (every array of the archive has a checksum)."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            parts = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return None
    if not {*ARRAYS, "canvas", "grid", "table", "mean_kept"} <= parts.keys():
        return None
    tiles = tiles_of(g, upsample) if bool(parts.get("tiled", False)) else None
    kept = Filter(values=torch.from_numpy(parts["filter"]), tiles=tiles) if "filter" in parts else None
    canvas, grid, table = ((int(parts[name][0]), int(parts[name][1])) for name in ("canvas", "grid", "table"))
    return Guides(method=method, upsample=upsample, phases=phases, canvas=canvas, grid=grid, table=table, filter=kept, noise=parts.get("noise"),
                  mean_kept=float(parts["mean_kept"]),
                  **{name: parts[name] for name in ARRAYS})


def _pruned(folder: Path, newest: Path, most_bytes: int) -> None:
    """Without the files used longest ago, as far as all do not fit; the newest stays."""
    files = sorted((path for path in folder.glob("guides-*.npz") if path != newest), key=lambda path: path.stat().st_mtime, reverse=True)
    room = most_bytes - newest.stat().st_size
    for path in files:
        room -= path.stat().st_size
        if room < 0:
            path.unlink(missing_ok=True)
