"""What a person chooses about an inverse problem, as plain records that recipes are made from."""

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

from exitwave.core import InputError, record
from exitwave.recon.direct.methods import METHODS, check_method
from exitwave.recon.direct.optimal import METHODS as OPTIMAL
from exitwave.recon.direct.sections import REFOCUSED
from exitwave.recon.fusion.wedges import INNER, check_wedges

Halves = Literal["pixels", "counts"]
Twin = Literal["positive-phase", "underfocus", "overfocus", "none"]
TWIN = "what settles rotation + 180 degrees with the opposite defocus and phase: positive-phase, underfocus, overfocus or none"
FACTORS = range(1, 17)


@record
class CalibrateOptions:
    """How a scan is calibrated from its own counts; `order` and `fit` as `exitwave.recon.calibrate.calibrate` has them.

    Raises:
        InputError: an order outside 1 to 3, a name that cannot be fitted.
    """

    twin: Twin = "positive-phase"
    order: int = 1
    fit: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_orders(self.order, self.fit)


def _check_orders(order: int, fit: tuple[str, ...]) -> None:
    if order != 1 or fit:
        from exitwave.recon.calibrate.refine import layout_of  # scipy's optimisers are not loaded for every recipe

        layout_of(order, fit)


@record
class Quantities:
    """What is made beside the image: its transfer divided out (`correct`), half images from detector pixels or from dealt counts, a box (y0, x0, y1,
    x1) whose phase is zero, images refocused to depths, slices at depths solved for together, the log-amplitude beside the phase, a report on the
    weak, thin model (`validity`)."""

    correct: bool = False
    halves: Halves = "pixels"
    vacuum_A: tuple[float, float, float, float] | None = None
    sections_A: tuple[float, ...] | None = None
    slices_A: tuple[float, ...] | None = None
    amplitude: bool = False
    validity: bool = False


QUANTITIES = ("correct", "halves", "vacuum_A", "sections_A", "slices_A", "amplitude", "validity")


@record
class ReconstructOptions:
    """Which image is made. `calibrate` measures rotation, handedness and aberrations first, with `twin`, `order` and `fit`. The rest is what
    `Quantities` says.

    Raises:
        InputError: an unknown method (with a suggestion), an upsampling factor outside 1 to 16, depths that do not ascend, depths that the method
            has no images for, aberrations that cannot be fitted.
    """

    method: str
    upsample: int = 1
    calibrate: bool = False
    twin: Twin = "positive-phase"
    correct: bool = False
    halves: Halves = "pixels"
    vacuum_A: tuple[float, float, float, float] | None = None
    sections_A: tuple[float, ...] | None = None
    slices_A: tuple[float, ...] | None = None
    amplitude: bool = False
    validity: bool = False
    order: int = 1
    fit: tuple[str, ...] = ()

    @property
    def quantities(self) -> Quantities:
        """What is made beside the image."""
        return Quantities(correct=self.correct, halves=self.halves, vacuum_A=self.vacuum_A, sections_A=self.sections_A, slices_A=self.slices_A,
                          amplitude=self.amplitude, validity=self.validity)

    def __post_init__(self) -> None:
        check_method(self.method)
        _check_depths(self)
        _check_orders(self.order, self.fit)
        if self.amplitude and self.method not in (*OPTIMAL, "wdd"):
            raise InputError(f"{self.method} makes phase images only", expected=", ".join((*OPTIMAL, "wdd")))
        _check_upsample(self.upsample)


@record
class FuseOptions:
    """How phase and dark field become one image: the phase's method, image pixels per scan step, azimuthal wedges that the dark field is made of,
    where it begins, in radii of the bright disk, and what half images are made from.

    Raises:
        InputError: an unknown method (with a suggestion), a number out of range.
    """

    method: str = "obf"
    upsample: int = 1
    wedges: int = 16
    inner: float = INNER
    halves: Halves = "pixels"

    def __post_init__(self) -> None:
        check_method(self.method)
        _check_upsample(self.upsample)
        check_wedges(self.wedges, self.inner)


def _check_upsample(upsample: int) -> None:
    if upsample not in FACTORS:
        raise InputError("the upsampling factor is out of range", expected="1 to 16", got=upsample,
                         remedy="`exitwave plan` says which one the scan needs")


def _check_depths(options: ReconstructOptions) -> None:
    if options.sections_A is not None and options.slices_A is not None:
        raise InputError("sections and slices are two ways to depths", got="both", remedy="ask for one of them")
    for depths in (options.sections_A, options.slices_A):
        if depths is not None and (not depths or any(b <= a for a, b in pairwise(depths))):
            raise InputError("depths are numbers in A that ascend", got=depths or "none")
    if options.sections_A is not None and options.method not in (*REFOCUSED, *OPTIMAL):
        raise InputError(f"{options.method} makes no depth sections", expected=", ".join((*REFOCUSED, *OPTIMAL)))
    if options.slices_A is not None and options.method not in OPTIMAL:
        raise InputError(f"{options.method} does not solve for slices", expected=", ".join(OPTIMAL), remedy="or ask for sections")


ORDER = "aberrations up to this radial order are tried and kept where they stand out: 1, 2 or 3"
FIT = "fitted whatever their size: C21, C23, C30, C32, C34, centre, scale"
CALIBRATE_MEANING: Mapping[str, str] = MappingProxyType({"twin": TWIN, "order": ORDER, "fit": FIT})
HALVES = "what half images are made from: detector pixels, or counts dealt out at random (one count per electron only)"
UPSAMPLE = "image pixels per scan step, 1 to 16; `exitwave plan` says how many the optics hold"
FUSE_MEANING: Mapping[str, str] = MappingProxyType(
    {
        "method": f"of the phase: one of {', '.join(METHODS)}",
        "upsample": UPSAMPLE,
        "wedges": "azimuthal detectors that the dark field is made of, 4 to 256",
        "inner": "where the dark field begins, in radii of the bright disk",
        "halves": HALVES,
    }
)
RECONSTRUCT_MEANING: Mapping[str, str] = MappingProxyType(
    {
        "method": f"one of {', '.join(METHODS)}",
        "upsample": UPSAMPLE,
        "calibrate": "true measures rotation, handedness and aberrations from the scan first",
        "correct": "true divides the transfer out as far as the half images hold signal",
        "halves": HALVES,
        "vacuum_A": "a box [y0, x0, y1, x1] in A whose mean phase is zero; null: none",
        "sections_A": "depths in A that the scan is refocused to, ascending, downstream positive; null: none",
        "slices_A": "depths in A of slices that are solved for together (lsq, obf, wiener); null: none",
        "amplitude": "true solves for the log-amplitude beside the phase (lsq, obf, wiener; wdd always does)",
        "validity": "true reports whether the scan is what linear methods take it for: weak, thin, counted with the noise that is stated",
        "twin": f"with calibrate: true, {TWIN}",
        "order": f"with calibrate: true, {ORDER}",
        "fit": f"with calibrate: true, {FIT}",
    }
)
