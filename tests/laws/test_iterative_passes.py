"""What runs on other devices is what runs on the processor: torch's operations against the fused pass, on one machine, for windows of any side."""

import numpy as np
import pytest
import torch

from exitwave.core.threads import set_threads
from exitwave.recon.iterative import adjoint, fused
from exitwave.recon.iterative.adjoint import negative_log_likelihood
from exitwave.recon.iterative.camera import Camera
from exitwave.recon.iterative.losses import Loss

GENERATOR = torch.Generator().manual_seed(5)
Answer = tuple[torch.Tensor, ...]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR)


def scene(
    modes: int, window: tuple[int, int], configs: int, slices: int, *, absorbs: bool, dtype: torch.dtype = torch.complex128, patterns: int = 5
) -> list[torch.Tensor]:
    """Leaves without any symmetry; windows cross the field's edges, the background is negative in places."""
    phase = 0.4 * random(configs, slices, 26, 23)
    leaves = [
        torch.complex(random(modes, *window), random(modes, *window)).to(dtype),
        (torch.complex(phase, 0.1 * phase.abs()) if absorbs else phase).to(dtype if absorbs else dtype.to_real()),
        20 * random(patterns, 2),
        torch.polar(torch.ones(slices - 1, *window, dtype=torch.float64), random(slices - 1, *window)).to(dtype),
        (random(9, 11).abs() - 0.1).to(dtype.to_real()),
    ]
    return [leaf.requires_grad_() for leaf in leaves]


def answer(leaves: list[torch.Tensor], kind: str, samples: int) -> Answer:
    """The loss and its gradients; one pixel is dead."""
    mask = torch.ones(9, 11)
    mask[3, 4] = 0
    counts = np.random.default_rng(1).poisson(3.0, (len(leaves[2]), 9, 11)).astype(np.uint16)
    camera = Camera(frame=(9, 11), corner=(4 * samples, 5 * samples), mask=mask, samples=samples)
    value = negative_log_likelihood(*leaves, counts, camera, Loss(kind=kind, dispersion=1.7))  # type: ignore[arg-type]
    return value.detach(), *torch.autograd.grad(value, [leaf for leaf in leaves if leaf.numel()])


def close(one: Answer, other: Answer, tolerance: float) -> None:
    for mine, theirs in zip(one, other, strict=True):
        assert float((mine - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


CASES = [
    pytest.param(2, (10, 12), 2, 3, True, 1, "poisson", id="the window reaches beyond the frame"),
    pytest.param(2, (20, 24), 2, 3, True, 2, "anscombe", id="two samples a pixel"),
    pytest.param(1, (20, 24), 1, 1, False, 2, "amplitude", id="one slice"),
    pytest.param(3, (9, 15), 1, 2, False, 1, "poisson", id="odd sides"),
    pytest.param(1, (33, 36), 1, 4, False, 3, "poisson", id="a window larger than the field"),
    pytest.param(1, (16, 64), 1, 2, True, 1, "poisson", id="powers of two"),
    pytest.param(1, (49, 22), 1, 1, False, 2, "anscombe", id="other primes"),
]


@pytest.mark.parametrize(("modes", "window", "configs", "slices", "absorbs", "samples", "kind"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.complex128, 1e-12), (torch.complex64, 1e-5)], ids=["double", "single"])
def test_the_same_loss_and_slopes(
    monkeypatch: pytest.MonkeyPatch, modes: int, window: tuple[int, int], configs: int, slices: int, absorbs: bool, samples: int, kind: str,
    dtype: torch.dtype, tolerance: float,
) -> None:
    leaves = scene(modes, window, configs, slices, absorbs=absorbs, dtype=dtype)
    ours = answer(leaves, kind, samples)
    monkeypatch.setattr(adjoint, "fusible", lambda modes, mtf: False)
    close(ours, answer(leaves, kind, samples), tolerance)


@pytest.mark.parametrize("parts", [False, True])
def test_each_pattern_may_have_modes_of_its_own(monkeypatch: pytest.MonkeyPatch, parts: bool) -> None:
    """As if every pattern were a batch of its own; equal modes are the shared ones, their slopes add up to theirs."""
    leaves = scene(2, (20, 24), 2, 3, absorbs=True, patterns=19)
    shared = answer(leaves, "poisson", 2)
    with torch.no_grad():
        equal = [leaves[0].expand(19, -1, -1, -1).clone(), *leaves[1:]]
        unlike = [equal[0] * (1 + 0.3 * torch.complex(random(19, 2, 20, 24), random(19, 2, 20, 24))), *leaves[1:]]
    if parts:
        monkeypatch.setattr(fused, "PART_BYTES", 1)
    found = answer([leaf.requires_grad_() for leaf in equal], "poisson", 2)
    close((found[0], found[1].sum(0), *found[2:]), shared, 1e-12)
    mine = answer([leaf.requires_grad_() for leaf in unlike], "poisson", 2)
    monkeypatch.setattr(adjoint, "fusible", lambda modes, mtf: False)
    close(mine, answer(unlike, "poisson", 2), 1e-12)


def test_threads_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the last bit for threads; rounding alone for batches cut into parts, and groups cut by memory."""
    leaves, before = scene(2, (12, 10), 1, 3, absorbs=True, patterns=67), torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2, 3):
            set_threads(threads)
            made.append(answer(leaves, "poisson", 1))
    finally:
        set_threads(before)
    assert all(torch.equal(a, b) for other in made[1:] for a, b in zip(made[0], other, strict=True))
    monkeypatch.setattr(fused, "PART_BYTES", 1)
    close(answer(leaves, "poisson", 1), made[0], 1e-12)
    monkeypatch.setattr(fused, "ROOM_BYTES", 1)
    close(answer(leaves, "poisson", 1), made[0], 1e-12)


def test_a_wave_that_is_no_number_says_so() -> None:
    """Neither the floor under the mean nor the mask of a background hides NaN."""
    leaves = scene(1, (12, 10), 1, 1, absorbs=False)
    with torch.no_grad():
        leaves[0][0, 3, 4] = torch.nan
    assert bool(torch.isnan(answer(leaves, "poisson", 1)[0]))
