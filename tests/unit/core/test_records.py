"""Records: walking, replacing and moving the tensors of a nested value."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import Tensor

from exitwave.core import leaves, record, to, with_leaves


@record
class Inner:
    """A leaf, a count and a name."""

    wave: Tensor
    index: Tensor
    name: str = "inner"


@record
class Outer:
    """Records inside a tuple inside a record."""

    parts: tuple[Inner, ...]
    dose_e: Tensor
    other: Inner | None = None


def make() -> Outer:
    """A nested record with complex, real, integer and boolean tensors."""
    inner = [Inner(wave=torch.full((2, 3), 1 + 2j) * i, index=torch.arange(3) + i) for i in range(2)]
    return Outer(parts=tuple(inner), dose_e=torch.tensor([1.5, 2.5]), other=Inner(wave=torch.ones(1), index=torch.tensor([True])))


def test_leaves_name_every_tensor_by_its_path() -> None:
    assert list(leaves(make())) == ["parts.0.wave", "parts.0.index", "parts.1.wave", "parts.1.index", "dose_e", "other.wave", "other.index"]


def test_with_leaves_round_trips_and_leaves_the_first_untouched() -> None:
    old = make()
    new = with_leaves(old, {path: value + 1 if value.dtype != torch.bool else ~value for path, value in leaves(old).items()})
    assert torch.equal(new.parts[1].wave, old.parts[1].wave + 1)
    assert torch.equal(leaves(old)["dose_e"], torch.tensor([1.5, 2.5]))
    back = with_leaves(new, leaves(old))
    assert all(torch.equal(a, b) for a, b in zip(leaves(back).values(), leaves(old).values(), strict=True))
    assert isinstance(new.parts, tuple)
    assert new.parts[0].name == "inner"


def test_replaced_leaves_carry_gradients() -> None:
    dose = torch.tensor([1.0, 2.0], requires_grad=True)
    with_leaves(make(), {"dose_e": dose * 3}).dose_e.sum().backward()
    assert dose.grad is not None
    assert dose.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("path", ["dose", "parts.7.wave", "parts.0.colour", "other.wave.x"])
def test_a_path_that_names_nothing_is_refused(path: str) -> None:
    with pytest.raises(KeyError, match="has no field"):
        with_leaves(make(), {path: torch.zeros(1)})


def test_to_keeps_complex_complex_and_integers_integers() -> None:
    moved = to(make(), dtype=torch.float64)
    assert {path: value.dtype for path, value in leaves(moved).items()} == {
        "parts.0.wave": torch.complex128, "parts.0.index": torch.int64, "parts.1.wave": torch.complex128, "parts.1.index": torch.int64,
        "dose_e": torch.float64, "other.wave": torch.float64, "other.index": torch.bool,
    }
    assert to(moved, dtype=torch.float32).parts[0].wave.dtype == torch.complex64
    assert to(moved, device="meta").dose_e.device.type == "meta"


def test_records_are_frozen_keyword_only_and_compared_by_identity() -> None:
    one = make()
    with pytest.raises(FrozenInstanceError):
        one.dose_e = torch.zeros(1)  # type: ignore[misc]
    with pytest.raises(TypeError):
        Inner(torch.zeros(1), torch.zeros(1))  # type: ignore[misc]
    assert one == one
    assert one != make()
    assert hash(one) == hash(one)
    assert not hasattr(one, "__dict__")
