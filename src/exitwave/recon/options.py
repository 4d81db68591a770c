"""What a person chooses about an inverse problem, as plain records that recipes are made from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from exitwave.core import InputError, record
from exitwave.recon.direct.methods import METHODS, check_method

Twin = Literal["positive-phase", "underfocus", "overfocus", "none"]
TWIN = "what settles rotation + 180 degrees with the opposite defocus and phase: positive-phase, underfocus, overfocus or none"
FACTORS = range(1, 17)


@record
class CalibrateOptions:
    """How a scan is calibrated from its own counts."""

    twin: Twin = "positive-phase"


@record
class ReconstructOptions:
    """Which image is made. `calibrate` measures rotation, handedness and aberrations first, with `twin`.

    Raises:
        InputError: an unknown method (with a suggestion), an upsampling factor outside 1 to 16.
    """

    method: str
    upsample: int = 1
    calibrate: bool = False
    twin: Twin = "positive-phase"

    def __post_init__(self) -> None:
        check_method(self.method)
        if self.upsample not in FACTORS:
            raise InputError(
                "the upsampling factor is out of range",
                expected="1 to 16",
                got=self.upsample,
                remedy="`exitwave plan` says which one the scan needs",
            )


CALIBRATE_MEANING: Mapping[str, str] = MappingProxyType({"twin": TWIN})
RECONSTRUCT_MEANING: Mapping[str, str] = MappingProxyType(
    {
        "method": f"one of {', '.join(METHODS)}",
        "upsample": "image pixels per scan step, 1 to 16; `exitwave plan` says how many the optics hold",
        "calibrate": "true measures rotation, handedness and aberrations from the scan first",
        "twin": f"with calibrate: true, {TWIN}",
    }
)
