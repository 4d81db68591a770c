"""Which executor is chosen, why, and that it makes the image; guide functions that are kept on disk."""

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exitwave.core import Grid, aberrations
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.recon.direct import METHODS, Geometry
from exitwave.recon.direct.linear import LINEAR
from exitwave.recon.live import Field, Guides, LiveGuides, choose, free_field, library, live_executor, make_guides, on_field
from exitwave.recon.live.library import recipe_hash
from tests.laws.test_events_cube import live, stream
from tests.laws.test_events_guides import counts, dense, rms


def large(shape: tuple[int, int]) -> Geometry:
    g = counts()[1]
    return replace(g, scan=Grid(shape=shape, pitch_A=g.scan.pitch_A))


# The choice


@pytest.mark.parametrize("method", METHODS)
def test_a_small_raster_is_counted(method: str) -> None:
    made = choose(counts()[1], method)
    assert made.executor == ("moments" if method == "icom" else "cube") and made.keeps_up and made.why.startswith(made.executor)


@pytest.mark.parametrize(("method", "executor"), [("ssb", "guides"), ("wdd", "guides"), ("obf", "guides"), ("parallax", "shifts"),
                                                  ("flipped-parallax", "shifts"), ("icom", "moments")])
def test_large_and_free_scans_are_not(method: str, executor: str) -> None:
    g = counts()[1]
    at = np.indices((21, 28)).reshape(2, -1).T + 0.3
    if "parallax" not in method:  # whose few pixels' counts are smaller than its cells
        many = choose(large((3000, 2500)), method, memory_bytes=2**32)
        assert many.executor == executor and "cube: " in many.why and f"{many.memory_bytes / 1e6:.4g} of" in many.why
    if method != "icom":
        assert choose(g, method, field=free_field(at, 5.0)).executor == executor


def test_what_cannot_be_is_said_with_numbers() -> None:
    g, field = counts()[1], free_field(np.random.default_rng(0).uniform(0, 20, (588, 2)), 5.0)
    for method in set(METHODS) - set(LINEAR) | {"icom"}:
        with pytest.raises(InputError, match="raster"):
            choose(g, method, field=field)
    with pytest.raises(MemoryBudgetError, match="raise the memory to"):
        choose(large((3000, 2500)), "wiener")
    slow = choose(large((3000, 2500)), "ssb", memory_bytes=2**32, events_per_s=1e12)
    assert not slow.keeps_up and "does not follow" in slow.why
    wide, narrow = (choose(large((3000, 2500)), "ssb", memory_bytes=2**32, half_width=(h, h)) for h in (20, 10))
    assert narrow.events_per_s > 2.5 * wide.events_per_s and narrow.memory_bytes < wide.memory_bytes
    with pytest.raises(InputError, match="unknown method"):
        choose(g, "sbb")


@pytest.mark.parametrize("method", ["icom", "ssb", "parallax"])
def test_what_was_chosen_makes_the_image(method: str, tmp_path: Path) -> None:
    frames, g = counts()
    expected = dense(live(frames, g), g, method).image
    raster = Field(shape=g.scan.shape, at=np.indices(g.scan.shape).reshape(2, -1).T.astype(float))  # a raster, said to be free
    for field in (None, raster) if method != "icom" else (None,):
        made = live_executor(choose(g, method, field=field), g, method, field=field, finite_pixels=False, half_width=(40, 40), phases=1,
                             cache_dir=tmp_path)
        state = made.start(frames.shape)
        for chunk in stream(frames).chunks():
            state = made.add(state, chunk)  # type: ignore[arg-type]
        found = made.finish(state).image  # type: ignore[arg-type]
        # On free positions the mean pattern is taken out of every image, with its noise.
        assert rms(found - expected) < (1e-5 if field is None else 0.05) * rms(expected)
    assert isinstance(made, LiveGuides) == (method == "ssb") and len(list(tmp_path.iterdir())) == (method == "ssb")


# The library


def same(a: Guides, b: Guides) -> bool:
    arrays = [f.name for f in fields(Guides) if isinstance(getattr(a, f.name), np.ndarray)]
    plain = ("method", "upsample", "phases", "canvas", "grid", "table", "mean_kept")
    return (all(np.array_equal(getattr(a, n), getattr(b, n)) and getattr(a, n).dtype == getattr(b, n).dtype for n in arrays)
            and all(getattr(a, n) == getattr(b, n) for n in plain) and (a.filter is None) == (b.filter is None))


@pytest.mark.parametrize("method", ["ssb", "obf", "flipped-parallax", "wdd"])
def test_kept_guides_are_those_that_were_made(method: str, tmp_path: Path) -> None:
    g = on_field(counts()[1], Field(shape=(40, 37)))
    ridge = 0.02 if method == "wdd" else None
    given = {"upsample": 2, "half_width": (5, 7), "phases": 2, "finite_pixels": False}
    first = library(tmp_path / "guides", g, method, ridge=ridge, **given)  # type: ignore[arg-type]
    (file,) = (tmp_path / "guides").iterdir()
    written = file.stat().st_ino
    again = library(tmp_path / "guides", g, method, ridge=ridge, **given)  # type: ignore[arg-type]
    assert same(first, again) and same(first, make_guides(g, method, ridge=ridge, **given)) and file.stat().st_ino == written  # type: ignore[arg-type]
    if first.filter is not None and again.filter is not None:
        spectrum = torch.randn(80, 38, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
        assert torch.equal(first.filter(spectrum), again.filter(spectrum))


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other"])
def test_a_damaged_file_is_made_again(damage: str, tmp_path: Path) -> None:
    g = counts()[1]
    first = library(tmp_path, g, "ssb", half_width=(3, 4))
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[: len(content) * 2 // 3]
    elif damage == "bit":
        content[len(content) // 3] ^= 0x10
    file.write_bytes(b"" if damage == "empty" else b"a text of another kind" if damage == "other" else bytes(content))
    assert same(first, library(tmp_path, g, "ssb", half_width=(3, 4)))
    assert same(first, library(tmp_path, g, "ssb", half_width=(3, 4))) and len(list(tmp_path.iterdir())) == 1


def test_every_part_of_a_recipe_makes_another_file() -> None:
    g = counts()[1]
    plain = ("ssb", 1, None, 1, True, None, torch.complex64)
    others = [replace(g, edge_invA=g.edge_invA * 1.0001), replace(g, aberrations=aberrations({"C10_A": 110.1})), replace(g, source_A=0.1),
              replace(g, k_invA=g.k_invA + 1e-9), replace(g, good=~g.good), replace(g, scan=Grid(shape=(28, 21), pitch_A=g.scan.pitch_A)),
              replace(g, focal_spread_A=3.0), replace(g, axes_invA=g.axes_invA * 1.01)]
    recipes = [(one, *plain) for one in (g, *others)]
    recipes += [(g, *plain[:i], value, *plain[i + 1 :]) for i, value in enumerate(("obf", 2, (3, 4), 4, False, 0.1, torch.complex128))]
    assert len({recipe_hash(*recipe) for recipe in recipes}) == len(recipes)  # type: ignore[arg-type]
    assert recipe_hash(replace(g), *plain) == recipe_hash(g, *plain)  # type: ignore[arg-type]


def test_files_used_longest_ago_go_first(tmp_path: Path) -> None:
    g = counts()[1]
    for half_width in ((3, 4), (4, 4), (5, 4)):
        library(tmp_path, g, "ssb", half_width=half_width)
    files = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    for age, file in enumerate(files):
        os.utime(file, (1e9 + age, 1e9 + age))
    library(tmp_path, g, "ssb", half_width=(3, 4))  # used again
    library(tmp_path, g, "ssb", half_width=(6, 4), most_bytes=sum(f.stat().st_size for f in files[:2]) + files[2].stat().st_size)
    left = set(tmp_path.iterdir())
    assert files[0] in left and files[1] not in left and len(left) in (2, 3)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="cannot be kept"):
        library(tmp_path / "file" / "below", g, "ssb", half_width=(3, 4))
