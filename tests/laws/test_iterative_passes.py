"""What runs on other devices is what runs on the processor: torch's operations against the fused passes, on one machine."""

import numpy as np
import pytest
import torch

from exitwave.recon.iterative import passes
from exitwave.recon.iterative.adjoint import Camera, negative_log_likelihood
from exitwave.recon.iterative.losses import Loss

GENERATOR = torch.Generator().manual_seed(5)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR)


@pytest.mark.parametrize("kind", ["poisson", "anscombe", "amplitude"])
@pytest.mark.parametrize("samples", [1, 2])
def test_the_same_loss_and_slopes(monkeypatch: pytest.MonkeyPatch, kind: str, samples: int) -> None:
    ny, nx = 10 * samples, 12 * samples
    frame, corner = (9, 11), (4 * samples, 5 * samples)  # the window reaches beyond the frame
    leaves = (
        torch.complex(random(2, ny, nx), random(2, ny, nx)).requires_grad_(),
        torch.complex(0.4 * random(2, 3, 26, 23), 0.1 * random(2, 3, 26, 23).abs()).requires_grad_(),
        (20 * random(5, 2)).requires_grad_(),  # also across the field's edges
        torch.polar(torch.ones(2, ny, nx, dtype=torch.float64), random(2, ny, nx)).requires_grad_(),
        random(*frame).abs().requires_grad_(),
    )
    mask = torch.ones(frame, dtype=torch.float64)
    mask[3, 4] = 0
    counts = np.random.default_rng(1).poisson(3.0, (5, *frame)).astype(np.uint16)
    camera, loss = Camera(frame=frame, corner=corner, mask=mask, samples=samples), Loss(kind=kind, dispersion=1.7)  # type: ignore[arg-type]

    def run() -> tuple[torch.Tensor, ...]:
        value = negative_log_likelihood(*leaves, counts, camera, loss)
        return value.detach(), *torch.autograd.grad(value, leaves)

    ours = run()
    monkeypatch.setattr(passes, "fused", lambda x: False)
    for mine, other in zip(ours, run(), strict=True):
        assert float((mine - other).abs().max()) <= 1e-12 * float(mine.abs().max())
