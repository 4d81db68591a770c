import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.data.dataset import ArrayFrames
from exitwave.flow.budget import frames_that_fit, memory_budget, physical_memory
from exitwave.flow.check import check_frames, checked, frames_are_counts, looks_counted
from exitwave.flow.chunks import CACHE_BYTES, block_bounds, chunks


@pytest.mark.parametrize(("text", "size"), [("256MB", 256_000_000), ("1 GiB", 2**30), (4096, 4096), ("2e3 kB", 2_000_000)])
def test_budgets_are_read(text: str | int, size: int) -> None:
    assert memory_budget(text) == size


def test_the_default_is_a_quarter_of_the_machine() -> None:
    assert memory_budget() == physical_memory() // 4 > 2**26


@pytest.mark.parametrize("text", ["0", "-3MB", "much", "3 nm", float("inf"), float("nan")])
def test_bad_budgets_are_refused(text: str | float) -> None:
    with pytest.raises(InputError):
        memory_budget(text)


def test_a_frame_that_does_not_fit_says_how_much_would() -> None:
    need = 256 * 256 * 10
    assert frames_that_fit(256 * 256, 2, need) == 1
    with pytest.raises(MemoryBudgetError, match=f"at least {need} bytes.*--memory 1MB"):
        frames_that_fit(256 * 256, 2, need - 1)


@given(start=st.integers(0, 40), length=st.integers(0, 400), natural=st.integers(1, 300), fit=st.integers(1, 500))
def test_blocks_tile_the_range_and_stay_in_the_budget(start: int, length: int, natural: int, fit: int) -> None:
    bounds = list(block_bounds(start, start + length, natural, 4 * 6, 2, fit * 24 * 10))
    assert [b for _, b in bounds[:-1]] == [a for a, _ in bounds[1:]]
    assert (bounds[0][0], bounds[-1][1]) == (start, start + length) if bounds else length == 0
    assert all(1 <= b - a <= fit for a, b in bounds)
    if natural <= fit:
        assert all(a % natural == 0 for a, _ in bounds[1:]), "no natural chunk is read twice"
    else:
        assert all(a // natural == (b - 1) // natural for a, b in bounds), "a block never spans two natural chunks"


def test_blocks_stay_cache_sized_under_a_large_budget() -> None:
    bounds = list(block_bounds(0, 10_000, 127, 64 * 64, 2, 2**34))
    assert max((b - a) * 64 * 64 * 2 for a, b in bounds) <= CACHE_BYTES
    assert all((b - a) % 127 == 0 for a, b in bounds[:-1])
    whole = list(block_bounds(0, 8192, 4096, 64 * 64, 2, 2**34))
    assert whole == [(0, 4096), (4096, 8192)], "a file's own block is kept whole where the budget allows"


def test_chunks_share_one_buffer_and_can_cover_a_part() -> None:
    array = np.arange(4 * 5 * 3 * 2, dtype=np.int16).reshape(4, 5, 3, 2)
    seen = list(chunks(ArrayFrames(array=array), 6 * 6 * 10, start=3, stop=17))
    assert [(c.start, c.stop) for c in seen] == [(3, 6), (6, 12), (12, 17)]
    assert len({c.frames.__array_interface__["data"][0] for c in seen}) == 1
    np.testing.assert_array_equal(seen[-1].frames, array.reshape(-1, 3, 2)[12:17])
    with pytest.raises(InputError, match="outside the scan"):
        next(chunks(ArrayFrames(array=array), 10**6, start=3, stop=21))


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_that_are_no_numbers_name_their_frame(value: float, said: str, dtype: str) -> None:
    array = np.random.default_rng(0).normal(size=(6, 7, 5, 4)).astype(dtype)
    check_frames(array.reshape(-1, 5, 4))
    array[4, 2, 3, 1] = value
    with pytest.raises(InputError, match=rf"frame 30 holds {said} at pixel \(3, 1\)"):
        list(checked(chunks(ArrayFrames(array=array), 4 * 20 * 16)))


def test_opposite_infinities_do_not_hide_and_large_numbers_pass() -> None:
    frames = np.full((3, 2, 2), 1.7e308)
    check_frames(frames)
    frames[1, 0, 1], frames[2, 1, 1] = np.inf, -np.inf
    with pytest.raises(InputError, match=r"frame 11 holds infinity at pixel \(0, 1\)"):
        check_frames(frames, first=10)


def test_negative_counts_name_their_frame_and_negative_floats_pass() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (5, 3, 4)).astype(np.int16)
    check_frames(counts)
    counts[3, 1, 2] = -7
    with pytest.raises(InputError, match=r"frame 103 holds a negative count at pixel \(1, 2\).*got -7"):
        check_frames(counts, first=100)
    check_frames(counts.astype(np.float32))


def test_what_counts_as_counts() -> None:
    whole = np.random.default_rng(0).poisson(3.0, (4, 4, 5, 6))
    for dtype in ("uint8", "int32", "float32", "bool"):
        assert frames_are_counts(whole.astype(dtype).reshape(-1, 5, 6))
        assert looks_counted(ArrayFrames(array=whole.astype(dtype)))
    for other in (whole - 1.0, whole * 0.5, whole - 1):
        assert not frames_are_counts(other.reshape(-1, 5, 6))
        assert not looks_counted(ArrayFrames(array=other))
