"""What the fusion returns."""

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.fusion.darkfield import DarkField
from exitwave.recon.fusion.gain import Gain
from exitwave.recon.fusion.rings import Rings


@record
class FusedImage:
    """`image` (y, x) in rad, zero mean: the specimen's phase times `transfer` (y, h); `pitch_A` its pitch.

    `noise` (y, h): variance of a Fourier coefficient of `image` (numpy's, unnormalised) over the count of pixels, from counting alone. `halves`: two
    images from disjoint detector pixels, or of counts dealt out. `share` (y, h): the part of each coefficient that the dark field gave, 0 to 1.
    `rings` with `ssnr_phase`, `ssnr_dark`, `ssnr` (n,), one definition for all (`rings.ssnr`). `gain`: rad for one unit of the dark field's mean, its
    error and whether one gain suits the data. `model_based` (low, high) in 1/A: where a dark field that needs more than one gain shaped the image;
    None where one gain is enough. `mean_rad`: what the dark field says the mean phase is, vacuum being zero, in the same trust as the gain.
    """

    image: Tensor
    pitch_A: tuple[float, float]
    noise: Tensor
    halves: tuple[Tensor, Tensor]
    transfer: Tensor
    share: Tensor
    rings: Rings
    ssnr_phase: Tensor
    ssnr_dark: Tensor
    ssnr: Tensor
    gain: Gain
    model_based: tuple[float, float] | None
    mean_rad: float
    phase: DirectImage
    dark: DarkField

    @property
    def dark_band(self) -> tuple[float, float] | None:
        """(low, high) in 1/A of the rings to which the dark field gives more than half; None where nowhere."""
        return band_above(self.rings, self.rings.mean(self.share), 0.5)

    def as_direct(self) -> DirectImage:
        """The same as a direct image, for whatever shows or writes those."""
        return DirectImage(
            method="ff-stem", image=self.image, halves=self.halves, pitch_A=self.pitch_A, ctf=self.transfer.to(torch.complex128), noise=self.noise,
            electrons=self.phase.electrons, pixels=self.phase.pixels,
        )


def band_above(rings: Rings, values: Tensor, least: float) -> tuple[float, float] | None:
    """From the innermost to the outermost ring whose value exceeds `least`."""
    found = torch.nonzero(values > least).reshape(-1)
    if not len(found):
        return None
    return float(rings.edges_invA[int(found[0])]), float(rings.edges_invA[int(found[-1]) + 1])
