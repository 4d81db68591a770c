"""What a person chooses about an iterative fit, as a plain record that recipes are made from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from exitwave.core import InputError, record
from exitwave.core.errors import suggest
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.recon.direct.methods import METHODS

LossKind = Literal["poisson", "anscombe", "amplitude"]
HalfSets = Literal["none", "scan", "counts"]
ProbeIs = Literal["fitted", "known"]
SolverKind = Literal["adam", "lsqml", "epie", "lbfgs"]
FITTED: Mapping[str, str] = MappingProxyType({
    "positions": "positions_px", "affine": "affine", "lines": "lines_px", "tilt": "tilt_mrad", "thickness": "dz_A", "aberrations": "aberrations_A",
    "source": "source_A", "focal-spread": "focal_spread_A", "background": "background", "psf": "psf_px",
})  # names that people type, and the leaves that they free
SLICED = ("tilt", "thickness")  # mean nothing to a single slice
ALONG = ("z_sigma_A", "z_change_rad_per_A2", "kz_filter")  # neither do these
STARTS = ("zero", *(m for m in METHODS if m not in ("dpc",)))


@record
class PtychoOptions:
    """How a scan is fitted. `thickness_A` is the specimen's, cut into `slices` of equal depth, `tilt_mrad` (y, x) the beam's
    direction against them. `fit` names what moves beside the phase and, unless it
    is "known", the probe. `start` is "zero" or the direct method whose image the phase begins with. `patience` iterations without a better
    held-out loss end the fit (0: never). Source size and focal spread start from the calibration.

    Raises:
        InputError: a number out of range, an unknown name (with a suggestion), slices without a thickness, what a single slice cannot tell.
    """

    slices: int = 1
    thickness_A: float | None = None
    tilt_mrad: tuple[float, float] = (0.0, 0.0)
    modes: int = 1
    probe_shapes: int = 0
    iterations: int = 40
    coarse: int = 0
    batch: int = 32
    loss: LossKind = "poisson"
    probe: ProbeIs = "fitted"
    fit: tuple[str, ...] = ()
    solver: SolverKind = "adam"
    start: str = "zero"
    phase_rate: float = 0.005
    probe_rate: float = 0.003
    held_share: float = 0.05
    patience: int = 10
    halves: HalfSets = "none"
    oversample: int | None = None
    kmax_invA: float | None = None
    prior_rad: float = 0.0
    z_sigma_A: float = 0.0
    z_change_rad_per_A2: float = 0.0
    kz_filter: float = 0.0
    tv_per_rad_A: float = 0.0
    positivity: bool = False
    checkpoint_every: int = 5
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        for name, low, high in (("slices", 1, 1000), ("modes", 1, 100), ("probe_shapes", 0, 12), ("iterations", 1, 10**6), ("coarse", 0, 10**6),
                                ("batch", 1, 10**6), ("patience", 0, 10**6), ("checkpoint_every", 0, 10**6)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is out of range", expected=f"{low} to {high}", got=getattr(self, name))
        for name in ("phase_rate", "probe_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be positive", got=getattr(self, name))
        if self.kmax_invA is not None and not 0 < self.kmax_invA < float("inf"):
            raise InputError("kmax_invA must be positive", got=self.kmax_invA)
        if not 0 <= self.held_share <= 0.5:
            raise InputError("held_share is a share of the patterns that no step sees", expected="0 to 0.5", got=self.held_share)
        if self.oversample is not None and not 1 <= self.oversample <= 8:
            raise InputError("oversample is out of range", expected="1 to 8 samples per pixel and axis", got=self.oversample)
        for name in ("z_sigma_A", "prior_rad", "z_change_rad_per_A2", "kz_filter", "tv_per_rad_A"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} must not be negative", got=getattr(self, name))
        _check_names(self)
        _check_depth(self)

    @property
    def spacing_A(self) -> float:
        """The distance from slice to slice."""
        return (self.thickness_A or 0.0) / self.slices


def _check_names(options: PtychoOptions) -> None:
    for name in options.fit:
        if name not in FITTED:
            raise InputError(f"unknown name {name!r} among what is fitted", expected=", ".join(FITTED), remedy=suggest(name, FITTED))
    if options.start not in STARTS:
        raise InputError(f"unknown start {options.start!r}", expected="zero, or a direct method", remedy=suggest(options.start, STARTS))
    if options.solver != "adam" and options.fit:
        raise InputError(f"{options.solver} moves the phase and the probe alone", got=f"fit {', '.join(options.fit)}",
                         remedy="leave it out, or take adam")
    forced = "z_sigma_A" if options.z_sigma_A else "kz_filter" if options.kz_filter else "positivity" if options.positivity else ""
    if options.solver == "lbfgs" and forced:
        raise InputError(f"{forced} changes the phase after every step, which the memory of lbfgs does not survive",
                         remedy="leave it out, take another solver, or pass prior_rad")
    if options.probe == "known" and (options.modes > 1 or options.probe_shapes):
        raise InputError("a known probe is one mode", got=f"{options.modes} modes, {options.probe_shapes} shapes", remedy="leave out one of them")
    if options.solver != "adam" and options.probe_shapes:
        raise InputError(f"{options.solver} knows one probe for all patterns", got=f"probe_shapes {options.probe_shapes}", remedy="take adam")


def _check_depth(options: PtychoOptions) -> None:
    if options.thickness_A is not None and not 0 < options.thickness_A < float("inf"):
        raise InputError("thickness_A must be positive", got=options.thickness_A)
    if options.slices > 1 and options.thickness_A is None:
        raise InputError("slices need the specimen's thickness", got=f"{options.slices} slices", remedy="pass --thickness-A")
    flat = [name for name in SLICED if name in options.fit]
    if options.slices == 1 and options.tilt_mrad != (0.0, 0.0):
        raise InputError("a tilt says nothing to a single slice", remedy="pass --slices and --thickness-A")
    along = [name for name in ALONG if getattr(options, name)]
    if options.slices == 1 and along:
        raise InputError(f"{along[0]} acts along the beam, where a single slice has nothing", got="1 slice",
                         remedy="pass --slices and --thickness-A, or leave it out")
    if options.kz_filter and "thickness" in options.fit:
        raise InputError("kz_filter takes slices equally far apart, which fitted distances are not", got="fit thickness",
                         remedy="leave out one of them, or smooth by z_sigma_A")
    if options.slices == 1 and flat:
        raise InputError(f"{flat[0]} says nothing to a single slice", remedy="pass --slices and --thickness-A, or leave it out of --fit")


PTYCHO_MEANING: Mapping[str, str] = MappingProxyType({
    "slices": "slices of equal depth that the specimen is cut into",
    "thickness_A": "the specimen's thickness, A; needed with slices",
    "tilt_mrad": "direction of the beam against the slices [y, x], mrad",
    "modes": "incoherent modes of the probe",
    "probe_shapes": "shapes of which the probe holds more or less from pattern to pattern (a probe that drifts); 0: the same probe everywhere",
    "iterations": "passes over the scan",
    "coarse": "passes before these over the middle of every pattern alone, each a quarter of the work; 0: none",
    "batch": "patterns that make a step",
    "loss": "poisson (counted electrons), anscombe or amplitude",
    "probe": "fitted, or known: the aperture with its aberrations as calibrated",
    "fit": f"what moves beside the phase and the probe: {', '.join(FITTED)}",
    "solver": "adam; or, for phase and probe alone and without step lengths: lsqml (least squares), lbfgs (all patterns at once, for layers) or epie",
    "start": f"where the phase begins: zero, or the image of a direct method ({', '.join(STARTS[1:])})",
    "phase_rate": "length of Adam's first steps of the phase, rad",
    "probe_rate": "the same of the probe, in parts of its root mean square",
    "held_share": "share of the patterns that no step sees; their loss says when noise is being fitted",
    "patience": "iterations without a better held-out loss that end the fit; 0: never",
    "halves": "a half-set correlation from two fits more: none, scan (every other position), counts (dealt out at random)",
    "oversample": "samples of a detector pixel and axis; null: as many as the probe needs",
    "kmax_invA": "1/A to which waves between slices are followed; null: to the camera's edge",
    "prior_rad": "standard deviation of a Gaussian prior of each slice's phase, pixel by pixel, rad; 0: none",
    "z_sigma_A": "standard deviation of the Gaussian that smooths slices along the beam, A; 0: none",
    "z_change_rad_per_A2": "Tikhonov along the beam: standard deviation of the slope of rad per A of depth from slice to slice, rad / A^2; 0: none",
    "kz_filter": "slices keep 1 - (2 / pi) arctan((strength kz / kr)^2) of each kz and kr: 1 is strong, 0.1 weak; 0: none",
    "tv_per_rad_A": "total variation in the plane, nats for each rad and A of an edge; 0: none",
    "positivity": "true keeps every slice's phase above its lowest tenth",
    "checkpoint_every": "iterations from one checkpoint to the next; 0: none",
    "seed": "seed of the order of patterns and of those held out",
})
