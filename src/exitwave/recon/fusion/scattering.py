"""What scatters into the dark field: the angular law measured from the mean pattern, and what it does to shift and transfer of each wedge."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import record
from exitwave.core.fft import cis
from exitwave.optics import shift_A
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import optics_of
from exitwave.recon.direct.overlap import chi_of
from exitwave.recon.fusion.wedges import Wedges

SAMPLES = 10  # of the aperture's radius
BLOCK = 2**18  # values of a block, so that they stay in a cache and are worth sharing between threads
SCREENING_INVA = np.geomspace(0.05, 3.0, 49)  # screening wave numbers that are tried


@record
class Law:
    """Scattering amplitude f(q) ~ 1 / (q^2 + q_0^2) of one atom, Wentzel's form; `screening_invA` is q_0."""

    screening_invA: float

    def shape(self, q2_invA2: Float[Tensor, "*q"]) -> Float[Tensor, "*q"]:
        """f(q) / f(0)."""
        return self.screening_invA**2 / (q2_invA2 + self.screening_invA**2)


@record
class WedgeOptics:
    """`shift_A` (wedges, 2): the mean of grad chi / 2 pi over where a wedge's electrons passed the aperture; `effective` (wedges,): how far out
    that is, in aperture radii; `passed` (wedges, u) the share of each sample `u_invA` (u, 2) of the aperture, sum 1 for each wedge."""

    shift_A: Tensor
    effective: Tensor
    passed: Tensor
    u_invA: Tensor


def aperture_samples(g: Geometry) -> Float[Tensor, "u 2"]:
    """A square grid of points inside the aperture."""
    axis = torch.arange(-SAMPLES, SAMPLES + 1, dtype=torch.float64) * (g.edge_invA / (SAMPLES + 0.5))
    u = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return u[(u**2).sum(1) <= g.edge_invA**2]


def fitted_law(g: Geometry, w: Wedges, mean: np.ndarray) -> Law:
    """The screening wave number under which the mean dark pattern is most likely, I(k) = c sum_u f(k - u)^2 over the aperture, in rings."""
    dark = torch.from_numpy(w.number >= 0)
    radius = torch.sqrt((g.k_invA[dark] ** 2).sum(1))
    ring = (radius / g.pixel_invA[0]).round().to(torch.int64)
    ring = ring - ring.min()
    pixels = torch.bincount(ring).to(torch.float64)
    counts = torch.zeros_like(pixels).index_add_(0, ring, torch.from_numpy(mean).to(torch.float64)[dark])
    middle = torch.zeros_like(pixels).index_add_(0, ring, radius) / pixels.clamp(min=1)
    distance2 = _distance2(torch.stack([middle, 0 * middle], 1), aperture_samples(g))
    scores = []
    for q0 in SCREENING_INVA:
        model = ((distance2 + q0**2) ** -2).sum(1) * pixels
        model = model * (counts.sum() / model.sum())
        scores.append(float(torch.xlogy(counts, model).sum()))
    return Law(screening_invA=float(SCREENING_INVA[int(np.argmax(scores))]))


def wedge_optics(g: Geometry, w: Wedges, law: Law) -> WedgeOptics:
    """Where in the aperture the electrons of each wedge came from: weight f(k - u)^2, summed over the wedge's pixels."""
    u = aperture_samples(g)
    passed = torch.stack([(_distance2(g.k_invA[torch.from_numpy(w.number == i)], u) + law.screening_invA**2).pow(-2).sum(0) for i in range(w.count)])
    passed = passed / passed.sum(1, keepdim=True)
    shift = passed @ torch.stack(shift_A(g.aberrations, g.beam, u[:, 0], u[:, 1]), -1)
    effective = torch.sqrt(((passed @ u) ** 2).sum(1)) / g.edge_invA
    return WedgeOptics(shift_A=shift, effective=effective, passed=passed, u_invA=u)


def wedge_transfers(g: Geometry, optics: WedgeOptics, qy: Tensor, qx: Tensor) -> Tensor:
    """(wedges, y, h) complex128: how a wedge's image passes a density of atoms at scan frequency q.

    T(q) = sum_u passed(u) A(u + q/2) A(u - q/2) exp(i [chi(u + q/2) - chi(u - q/2)]) / sum_u passed(u) A(u)^2, the incoherent transfer of the part
    of the aperture that this wedge's electrons passed.
    """
    u = optics.u_invA
    lens = replace(optics_of(g, finite_pixels=False), pixel_invA=g.edge_invA / (SAMPLES + 0.5), norm=1.0)
    found = torch.zeros((len(optics.passed), qy.numel(), qx.numel()), dtype=torch.complex128)
    uy, ux = u[:, 0, None, None], u[:, 1, None, None]
    passed = optics.passed.to(torch.complex64)
    rows, columns = (torch.nonzero(q.reshape(-1).abs() < 2 * g.edge_invA).reshape(-1) for q in (qy, qx))  # beyond, nothing passes
    half_x = 0.5 * qx.reshape(-1)[columns]
    for some in rows.split(max(1, BLOCK // (len(u) * len(columns)))):
        half_y = 0.5 * qy.reshape(-1)[some, None]
        ends = [(uy + s * half_y, ux + s * half_x) for s in (1, -1)]
        size = lens.amplitude(*(x.to(torch.float32) for x in ends[0])) * lens.amplitude(*(x.to(torch.float32) for x in ends[1]))
        turn = chi_of(lens, *ends[0]) - chi_of(lens, *ends[1])
        block = passed @ (size * cis(turn, torch.complex64)).flatten(1)
        found[:, some[:, None], columns] = block.reshape(len(passed), len(some), len(columns)).to(torch.complex128)
    whole = (optics.passed * lens.amplitude(u[:, 0], u[:, 1]) ** 2).sum(1)
    return found / whole[:, None, None]


def _distance2(k: Tensor, u: Tensor) -> Tensor:
    return (k**2).sum(1)[:, None] + (u**2).sum(1)[None] - 2 * k @ u.T
