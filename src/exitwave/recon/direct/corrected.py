"""Direct images with their transfer divided out, as far as the noise allows."""

from dataclasses import replace

import torch
from torch import Tensor

from exitwave.core import Grid, record
from exitwave.core.errors import InputError
from exitwave.recon.direct.image import DirectImage
from exitwave.signal import ring_numbers

LEAST_PAIRS = 24  # coefficients that one value of the prior is measured from
SURE = 2.0  # standard errors above which a ring's power is taken for the specimen's
FLOOR = 1e-3  # of the largest transfer, below which there is nothing to divide
DIM = 0.02  # likewise where the power is measured: what halves share besides the specimen (a beam that flickers) would be divided by next to nothing


def corrected(image: DirectImage, power: Tensor | float | None = None) -> DirectImage:
    """The phase itself where the image holds it: each coefficient times W = CTF* P / (|CTF|^2 P + noise).

    `power` P (a number or (y, h)) is the specimen's power spectrum in the units of `DirectImage.noise`, rad^2: mean |Phi|^2 of numpy's transform
    over the count of pixels, so a white specimen of rms s has P = s^2. None measures it in rings and shrinks it (`measured_power`); infinity
    divides by the transfer wherever that is above a thousandth of its largest value, without regard to noise. The result's `ctf` is what a weak
    phase is now multiplied by, SSNR / (1 + SSNR) with SSNR = |CTF|^2 P / noise, real; its `noise` is |W|^2 times the image's; halves are treated
    alike. A log-amplitude stays as it is.

    Limits: right for weak phases, as the transfer is. A measured power comes from the same counts: rings where the specimen stands out of the noise
    by little are weighed down too far, or by chance not far enough; frequencies that pass less than a fiftieth of the largest transfer are left out.

    Raises:
        InputError: a power that is negative or NaN.
    """
    prior = measured_power(image).shrunk() if power is None else torch.as_tensor(power, dtype=torch.float64).expand(image.noise.shape)
    if bool(torch.isnan(prior).any()) or float(prior.min()) < 0:
        raise InputError("the power of a specimen is a positive number", got=float(prior.min()))
    size2 = image.ctf.abs() ** 2
    floor = torch.where(prior > 0, image.noise / torch.clamp(prior, min=1e-300), torch.full_like(prior, torch.inf))
    held = (size2 > FLOOR**2 * float(size2.max())) | (floor > 0)
    if power is None:
        held &= size2 > DIM**2 * float(size2.max())
    weight = torch.where(held, image.ctf.conj() / torch.where(held, size2 + floor, torch.ones_like(size2)), torch.zeros_like(image.ctf))
    shape = (image.image.shape[0], image.image.shape[1])

    def weighed(plane: Tensor) -> Tensor:
        return torch.fft.irfft2(weight.to(plane.dtype.to_complex()) * torch.fft.rfft2(plane), s=shape)

    return replace(
        image,
        method=f"{image.method} corrected",
        image=weighed(image.image),
        halves=(weighed(image.halves[0]), weighed(image.halves[1])),
        ctf=weight * image.ctf,
        noise=weight.abs() ** 2 * image.noise,
    )


@record
class Power:
    """A specimen's power spectrum (y, h), without bias and therefore below zero where noise has it so, and its standard error where noise is all."""

    value: Tensor
    sigma: Tensor

    def shrunk(self) -> Tensor:
        """P (1 - 4 sigma^2 / P^2), zero below two sigma: what stands out of noise (the non-negative garrote; Breiman, Technometrics 37 (1995) 373,
        doi 10.1080/00401706.1995.10484371). Plain P would amplify rings of noise, above all where little is transferred."""
        power = torch.clamp(self.value, min=1e-300)
        return torch.clamp(power - (SURE * self.sigma) ** 2 / power, min=0.0)


def measured_power(image: DirectImage) -> Power:
    """The specimen's power that the half images agree on, in rings of at least 24 coefficients: P = sum w Re A B* / sum w |CTF|^2.

    w = |CTF|^2 / noise^2 gives the least variance where noise dominates, 4 / sum w |CTF|^2; zeros of the transfer inside a ring do no harm, as they
    would if the ring's SSNR were used as it is. Noise that halves share (`exitwave.signal.ring_ssnr`) counts as specimen.
    """
    rows, columns = image.image.shape
    a, b = (torch.fft.rfft2(half.to(torch.float64)) for half in image.halves)
    cross = (a * b.conj()).real / (rows * columns)
    size2 = image.ctf.abs() ** 2
    lit = (image.noise > 0) & (size2 > 0)
    weight = torch.where(lit, size2 / torch.where(lit, image.noise, torch.ones_like(size2)) ** 2, torch.zeros_like(size2))
    grid = Grid(shape=(rows, columns), pitch_A=image.pitch_A)
    ring = _wide_rings(grid, columns // 2 + 1, lit)
    count = int(ring.max()) + 1
    twice = torch.full((columns // 2 + 1,), 2.0, dtype=torch.float64)  # a coefficient of the half plane stands for its mirror too
    twice[0] = 1.0
    if columns % 2 == 0:
        twice[-1] = 1.0

    def summed(values: Tensor) -> Tensor:
        return torch.zeros(count, dtype=torch.float64).index_add_(0, ring.reshape(-1), (values * twice).reshape(-1))

    below = summed(weight * size2)
    known = torch.where(below > 0, below, torch.ones_like(below))
    return Power(value=(summed(weight * cross) / known)[ring], sigma=(2 * torch.rsqrt(known))[ring])


def _wide_rings(grid: Grid, half: int, lit: Tensor) -> Tensor:
    """Ring of each coefficient of the half plane, one frequency step wide and wider where too few of them are lit; the corners beyond Nyquist
    belong to the last."""
    numbers = ring_numbers(grid)
    ring = numbers.ring.reshape(grid.shape)[:, :half].clone()
    ring[0, 0] = 0
    held = torch.zeros(numbers.count + 1, dtype=torch.float64).index_add_(0, ring.reshape(-1), lit.reshape(-1).to(torch.float64))
    merged, at, full = [], 0, 0.0
    for count in held.tolist():
        merged.append(at)
        full += count
        if full >= LEAST_PAIRS:
            at, full = at + 1, 0.0
    if full and at:
        merged = [min(number, at - 1) for number in merged]  # what is left over at the edge joins its neighbour
    return torch.tensor(merged, dtype=torch.int64)[ring]
