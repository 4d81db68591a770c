"""What a session looks at: a scan's calibration and the counts that any image can be made of."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from exitwave.core import record
from exitwave.core.errors import CalibrationError
from exitwave.data import Calibration, Quantity
from exitwave.live.page.settings import Settings
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.direct.optimal import METHODS as OPTIMAL
from exitwave.recon.direct.weights import WHOLE_DETECTOR
from exitwave.recon.live import CountCube, LivePhase

WHOLE_SHARE = 4  # a cube of all pixels takes at most this part of the memory (it is copied for each look)
COUNT_BYTES = 2
MOVED = ("C10_A", "C12_A", "phi12_deg", "C21_A", "phi21_deg")


@record
class Scene:
    """A scan (Ry, Rx, ky, kx), what is known of it, its live pixels (ky, kx; None: all), the cube of its counts. `whole`: all live pixels are
    counted, not the bright disk's alone. `lacks`: why there are no phase images, or ""."""

    shape: tuple[int, int, int, int]
    calibration: Calibration
    alive: np.ndarray | None
    cube: CountCube
    whole: bool
    memory_bytes: int
    lacks: str = ""

    @property
    def gain(self) -> float:
        """Counts that one electron makes."""
        return float(self.calibration.counts_per_electron.value or 1.0)

    @property
    def centre_px(self) -> tuple[float, float]:
        """The optic axis on the detector, (y, x)."""
        return centre_of(self.calibration, self.shape[2:])

    @property
    def pixel_mrad(self) -> float:
        """The angle of a detector pixel, 1 where that is not known."""
        return pixel_of(self.calibration)


def centre_of(known: Calibration, frame: tuple[int, ...]) -> tuple[float, float]:
    """The optic axis on a detector (ky, kx); its middle where that is not known."""
    y, x = known.centre_y_px.value, known.centre_x_px.value
    return float((frame[0] - 1) / 2 if y is None else y), float((frame[1] - 1) / 2 if x is None else x)


def pixel_of(known: Calibration) -> float:
    """The angle of a detector pixel, mrad; 1 where that is not known."""
    return float(known.detector_mrad.value or 1.0)


def pitch_of(known: Calibration) -> list[float]:
    """The scan step (y, x), A; 1 where that is not known."""
    return [float(known.scan_step_y_A.value or 1.0), float(known.scan_step_x_A.value or 1.0)]


def annulus(frame: tuple[int, ...], known: Calibration, alive: np.ndarray | None, settings: Settings) -> np.ndarray:
    """(ky, kx) True at the live pixels inside the virtual detector."""
    (cy, cx), pixel = centre_of(known, frame), pixel_of(known)
    y, x = np.indices(frame)
    r = np.hypot((y - cy) * pixel - settings.centre_y_mrad, (x - cx) * pixel - settings.centre_x_mrad)
    mask: np.ndarray = (r >= settings.inner_mrad) & (r < settings.outer_mrad)
    return mask if alive is None else mask & alive


def detector_words(settings: Settings) -> str:
    """ "virtual detector, disk 10 mrad"."""
    where = "disk" if settings.inner_mrad == 0 else f"{settings.inner_mrad:.3g} to"
    return f"virtual detector, {where} {settings.outer_mrad:.3g} mrad"


def scene_of(calibration: Calibration, shape: tuple[int, int, int, int], alive: np.ndarray | None, memory_bytes: int) -> Scene:
    """Count every live pixel where that fits, else the bright disk's.

    Raises:
        CalibrationError: neither fits or the disk is not known.
    """
    live = np.ones(shape[2] * shape[3], bool) if alive is None else alive.reshape(-1)
    lacks, bright = "", np.empty(0, np.int64)
    try:
        g = geometry(calibration, shape, None if alive is None else torch.from_numpy(alive))
        bright = torch.nonzero(g.bright()).reshape(-1).numpy()
    except CalibrationError as error:
        lacks = str(error)
    every, positions = np.flatnonzero(live), shape[0] * shape[1]
    room = memory_bytes // WHOLE_SHARE
    whole = len(every) * positions * COUNT_BYTES <= room
    if not whole and (lacks or len(bright) * positions * COUNT_BYTES > memory_bytes // 3):
        raise CalibrationError("the counts of this scan do not fit into the memory for a live page", expected=f"at most {memory_bytes / 3e6:.4g} MB",
                               got=f"{len(bright if len(bright) else every) * positions * COUNT_BYTES / 1e6:.4g} MB",
                               remedy=lacks or "raise --memory, or use --headless")
    return Scene(shape=shape, calibration=calibration, alive=alive, cube=CountCube(pixels=every if whole else bright), whole=whole,
                 memory_bytes=memory_bytes, lacks=lacks)


def settings_for(scene: Scene, method: str, upsample: int) -> Settings:
    """Where the knobs stand at first: what is known, and the bright disk as the detector."""
    known = {name: float(q.value) for name, q in scene.calibration.aberrations.items() if name in MOVED and q.value is not None}
    outer = scene.calibration.semiangle_mrad.value
    edge = scene.pixel_mrad * min(scene.shape[2:]) / 2
    return Settings(method=method, upsample=upsample, view="detector" if scene.lacks else "phase", outer_mrad=float(outer or edge),
                    rotation_deg=float(scene.calibration.rotation_deg.value or 0.0), transpose=bool(scene.calibration.transpose.value), **known)


def calibration_at(scene: Scene, settings: Settings) -> Calibration:
    """The calibration with the knobs' values on top of it; other aberrations stay. Coma that is zero is left out: without terms of higher order the
    weights of all pixels share one transform, and a refocus takes a fifth of the time."""
    names = MOVED if settings.C21_A else MOVED[:3]
    moved = {name: Quantity(value=getattr(settings, name), source="given") for name in names}
    kept = {name: q for name, q in scene.calibration.aberrations.items() if name not in MOVED}
    return replace(scene.calibration, rotation_deg=Quantity(value=settings.rotation_deg, source="given"),
                   transpose=Quantity(value=settings.transpose, source="given"), aberrations={**kept, **moved})


def phase_view(scene: Scene, settings: Settings) -> LivePhase:
    """The view that makes the image which is asked for. The same record for the same knobs, so that what it keeps is found again.

    Raises:
        CalibrationError: the optics are not known.
    """
    complex_ = settings.view in ("amplitude", "wave") and settings.method in OPTIMAL
    return _view(scene, _optics(scene, *(getattr(settings, name) for name in (*MOVED, "rotation_deg", "transpose"))), settings.method,
                 settings.upsample, complex_)


def counted_by(scene: Scene, method: str) -> bool:
    """Whether the pixels that a method weighs are counted."""
    return scene.whole or (method not in WHOLE_DETECTOR and method != "wdd")


def detector_mask(scene: Scene, settings: Settings) -> np.ndarray:
    """(ky, kx) True inside the virtual detector."""
    return annulus(scene.shape[2:], scene.calibration, scene.alive, settings)


@lru_cache(maxsize=4)
def _optics(scene: Scene, C10_A: float, C12_A: float, phi12_deg: float, C21_A: float, phi21_deg: float, rotation_deg: float,
            transpose: bool) -> Geometry:
    knobs = Settings(C10_A=C10_A, C12_A=C12_A, phi12_deg=phi12_deg, C21_A=C21_A, phi21_deg=phi21_deg, rotation_deg=rotation_deg, transpose=transpose)
    return geometry(calibration_at(scene, knobs), scene.shape, None if scene.alive is None else torch.from_numpy(scene.alive))


@lru_cache(maxsize=4)
def _view(scene: Scene, g: Geometry, method: str, upsample: int, complex_: bool) -> LivePhase:
    gain = scene.gain
    return LivePhase(cube=scene.cube, g=g, method=method, upsample=upsample, dispersion=gain, counts_per_electron=gain,
                     memory_bytes=scene.memory_bytes, parts="complex" if complex_ else "phase")


def unknown(scene: Scene, settings: Settings) -> list[str]:
    """Which of the optics nobody has stated or set, in words."""
    known = scene.calibration
    set_ = settings.C10_A != 0 or settings.C12_A != 0 or settings.C21_A != 0
    return [*(["aberrations"] if not set_ and not any(q.known for q in known.aberrations.values()) else []),
            *(["rotation"] if settings.rotation_deg == 0 and not known.rotation_deg.known else [])]
