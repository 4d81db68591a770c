"""Records to HDF5 and exactly back."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.io.records import read_record, write_record


@record
class Inner:
    weights: torch.Tensor
    note: str = ""


@record
class Outer:
    name: str
    inner: Inner
    parts: tuple[Inner, ...]
    table: np.ndarray
    rest: Mapping[str, Any]


def same(a: Any, b: Any) -> bool:
    """Equal in value and type, all the way down; NaN equals NaN."""
    if type(a) is not type(b):
        return False
    if is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(torch.nan_to_num(a.detach()), torch.nan_to_num(b))
    if isinstance(a, (np.ndarray, np.generic)):
        plain = np.asarray(a)
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(plain, np.asarray(b), equal_nan=plain.dtype.kind in "fc")
    return bool(a == b) or a != a


def around(value: Any, types: tuple[type, ...] = ()) -> Any:
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        return read_record(write_record(file, "it", value), types)


def test_records_come_back_as_they_were() -> None:
    rng = np.random.default_rng(5)
    parts = (Inner(weights=torch.arange(6).reshape(3, 2)), Inner(weights=torch.randn(3, 5, dtype=torch.complex64), note="Å"))
    x = Outer(name="x\ny", inner=Inner(weights=torch.tensor(2.5, dtype=torch.float64).requires_grad_()), parts=parts,
              table=rng.normal(size=(3, 1, 7)).astype(">f4"), rest=MappingProxyType({"a": {"b": (1, 2.0, "c", None)}, "empty": (), "none": None}))
    back = around(x, (Outer, Inner))
    assert same(x, back)
    assert back.table.dtype.str == ">f4"


@pytest.mark.parametrize("value", [
    True, 0, -(2**70), 2**63 - 1, 1e-300, float("inf"), float("nan"), 3 - 4j, "", "a\0b", "lone \ud800", "Å" * 3000, b"\0\xff", b"",
    Path("a/b"), None, np.float32(1.1), np.int8(-3), np.bool_(True), np.complex64(1j), np.str_("x"), np.array(3, np.uint16), np.zeros((0, 3)),
    np.array(["ä", ""]),
    np.array([True, False]), np.array([1, 2], ">i8"), np.arange(4, dtype=np.float16), torch.zeros(2, 0), torch.tensor([1.5], dtype=torch.bfloat16),
    torch.tensor([True]), torch.tensor([1 + 2j]).conj(), (1.0, 2.5), [1.0, 2], (True, False), ["a", "b\0"], [2**70], [[1], [2]], (), [], {},
    MappingProxyType({"x": 1}), tuple(range(2000)), [str(i) for i in range(900)], {str(i): i for i in range(900)},
], ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!r}".encode("ascii", "replace").decode())
def test_every_kind_of_value(value: Any) -> None:
    assert same(around({"x": value, "y": (value, None)}), {"x": value, "y": (value, None)})


@pytest.mark.parametrize("key", ["NX_class", "default", "exitwave_type", "exitwave_kinds", "%", "%NX_class", "a/b", ".", "..", "", "a\0b", "ß", "0"])
def test_any_text_is_a_key(key: str) -> None:
    tree = {key: 1, "other": {key: "x", key + "%": np.zeros(2)}}
    assert same(around(tree), tree)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
TREES = st.recursive(LEAVES, lambda x: st.lists(x, max_size=4) | st.lists(x, max_size=4).map(tuple) | st.dictionaries(st.text(
    st.characters(exclude_categories=["Cs"])), x, max_size=4), max_leaves=12)


@given(TREES)
@settings(deadline=None, max_examples=40)
def test_any_tree(tree: Any) -> None:
    assert same(around({"tree": tree}), {"tree": tree})


@pytest.mark.parametrize("bad", [object(), {1, 2}, {1: 2}, np.array([object()]), np.array(["2020"], "M8[D]"), torch.zeros(2).to_sparse(), lambda: 0])
def test_what_has_no_place_is_named(bad: Any) -> None:
    with pytest.raises(InputError, match=r"it\.deep\.x"):
        around({"deep": {"x": bad}})


def test_a_file_does_not_choose_what_is_built() -> None:
    with pytest.raises(FormatError, match="not known here"):
        around({"x": Inner(weights=torch.zeros(1))})


def test_records_may_grow_but_not_guess() -> None:
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        group = write_record(file, "it", Inner(weights=torch.ones(2), note="n"))
        kinds = group.attrs["exitwave_kinds"]
        group.attrs["exitwave_kinds"] = kinds.replace(', "note": "str"', "")
        assert read_record(group, (Inner,)).note == ""
        group.attrs["exitwave_kinds"] = kinds.replace('"weights": "tensor:float32", ', "")
        with pytest.raises(FormatError, match=r"lacks Inner\.weights"):
            read_record(group, (Inner,))
        group.attrs["exitwave_kinds"] = kinds.replace('"note"', '"later"')
        group.attrs["later"] = "x"
        with pytest.raises(FormatError, match="later version"):
            read_record(group, (Inner,))
        for damage in ("no json", '{"weights": "pickle:x", "note": "str"}', '{"gone": "float"}'):
            group.attrs["exitwave_kinds"] = damage
            with pytest.raises(FormatError):
                read_record(group, (Inner,))
