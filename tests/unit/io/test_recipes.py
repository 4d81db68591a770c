"""Recipes: text to model and back to the last bit, units, lines, suggestions, values set from outside."""

import math
from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, Literal

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exitwave.cli.recipes import kinds, loaded, whole
from exitwave.core import FormatError, InputError, record
from exitwave.core.aberrations import aberrations
from exitwave.data import Calibration, Quantity
from exitwave.io.recipes import (
    CALIBRATION_SECTION,
    Document,
    Kind,
    Recipe,
    calibration_in,
    checked,
    kind_of,
    live_pixels,
    model_of,
    parse_document,
    plain,
    recipe_of,
    recipe_text,
    record_of,
    section_of,
    template_text,
    tree_of,
    with_values,
)
from exitwave.io.recipes.terms import term
from exitwave.simulate import FourDRecipe

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False)
AWKWARD = ["null", "1e5", "~", "- a", "a: b", "#", "yes", "0x1", "2024-01-01"]
QUANTITIES = st.builds(Quantity, value=FLOATS, sigma=st.none() | POSITIVE, source=st.sampled_from(["measured", "given", "file", "assumed"]))
KNOWN = st.builds(Quantity, value=POSITIVE, sigma=st.none() | POSITIVE, source=st.just("measured"))


def recipe_in(text: str, kind: str) -> Recipe:
    return recipe_of(parse_document(text), kinds()[kind])


def problems(text: str, kind: str) -> list[tuple[str, int | None, str]]:
    recipe, found = checked(parse_document(text), kinds()[kind])
    assert recipe is None
    return [(problem.key, problem.line, problem.message) for problem in found]


@record
class Odd:
    """A record with every type that a recipe can hold."""

    length_A: float
    angle_deg: float = 1e-5
    pair_mrad: tuple[float, float] | None = None
    counts: tuple[int, ...] = (3, 5)
    way: Literal["left", "right"] = "left"
    name: str = "yes"
    flag: bool = True
    aberrations: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


ABOUT = {name: f"about {name}" for name in ("length_A", "angle_deg", "pair_mrad", "counts", "way", "name", "flag", "aberrations")}


def odd_kind() -> Kind:
    model = model_of(Odd, ABOUT, sections={"calibration": CALIBRATION_SECTION}, required=frozenset({"length_A"}))
    return Kind(name="odd", about="Odd things.", use="Use: none", model=model, build=lambda made: record_of(Odd, made))


@given(
    length=FLOATS,
    pair=st.none() | st.tuples(FLOATS, FLOATS),
    counts=st.lists(st.integers(-(10**20), 10**20), max_size=3).map(tuple),
    name=st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=30) | st.sampled_from(AWKWARD),
    energy=KNOWN,
    terms=st.dictionaries(st.sampled_from(["C10_A", "C12_A", "phi12_deg", "C30_A"]), QUANTITIES),
)
def test_a_recipe_reads_back_equal_and_its_text_is_the_same(
    length: float, pair: tuple[float, float] | None, counts: tuple[int, ...], name: str, energy: Quantity, terms: dict[str, Quantity]
) -> None:
    kind = odd_kind()
    section = section_of(Calibration(energy_eV=energy, rotation_deg=Quantity(value=-53.99999999999999, source="given"), aberrations=terms))
    values = kind.model(length_A=length, pair_mrad=pair, counts=counts, name=name, aberrations={"C12_A": length}, calibration=section)
    recipe = Recipe(kind="odd", values=values, header=("first", "", "second: line"))
    text = recipe_text(recipe)
    again = recipe_of(parse_document(text), kind)
    assert again.values == values and again.header == recipe.header
    assert recipe_text(again) == text
    assert math.copysign(1, again.values.length_A) == math.copysign(1, length)
    plainly = yaml.safe_load(text)  # other programs read the same numbers
    assert plainly["length_A"] == length and isinstance(plainly["length_A"], float) and plainly["name"] == name
    stored = recipe_of(Document(tree=tree_of(again), lines={}, what="stored"), kind)
    assert stored.values == values


@pytest.mark.parametrize("kind", ["simulate", "tem", "calibrate", "reconstruct", "fuse", "calibration"])
def test_a_template_names_every_key_and_is_right_once_filled_in(kind: str) -> None:
    model, text = kinds()[kind].model, template_text(kinds()[kind])
    tree = yaml.safe_load(text)
    assert tree["schema"] == 1 and tree["kind"] == kind
    for name, about in model.model_fields.items():
        if not (about.json_schema_extra or {}):
            assert name in tree, name
            comment = text.splitlines()[[line.split(":")[0] for line in text.splitlines()].index(name) - 1]
            assert about.description in comment and ("TO BE SUPPLIED" in comment) == about.is_required()
    document = with_values(parse_document(text), ["method=ssb"] if kind == "reconstruct" else [])
    assert recipe_of(document, kinds()[kind]).values == model(**({"method": "ssb"} if kind == "reconstruct" else {}))


def test_the_template_of_a_simulation_is_its_default() -> None:
    values = recipe_in(template_text(kinds()["simulate"]), "simulate").values
    ours, default = record_of(FourDRecipe, values), FourDRecipe()
    assert all(getattr(ours, name) == getattr(default, name) for name in type(values).model_fields)


def test_quantities_take_units_by_the_key() -> None:
    values = recipe_in(
        "energy_eV: 300 kV\nsemiangle_mrad: 1.2 deg\nscan_step_A: 1e-1\nfield_A: [30 nm, 4e2]\nrotation_deg: -54 deg\nslice_A: 1 nm\n"
        "detector_mrad: 2\naberrations: {defocus: 13.5 um, phi12: 23 deg, phi23: 0.5, Cs: 1.2 mm, phi21_rad: 1}\n",
        "simulate",
    ).values
    assert values.energy_eV == 300e3 and values.semiangle_mrad == pytest.approx(20.943951, rel=1e-7) and values.scan_step_A == 0.1
    assert values.field_A == (300.0, 400.0) and values.rotation_deg == -54 and values.slice_A == 10 and isinstance(values.detector_mrad, float)
    assert values.aberrations == pytest.approx(
        {"C10_A": -135000.0, "phi12_deg": 23.0, "phi23_deg": math.degrees(0.5), "C30_A": 1.2e7, "phi21_deg": math.degrees(1)}
    )


@pytest.mark.parametrize("name", ["C10", "defocus_A", "overfocus", "phi12", "phi21_deg", "coma_angle", "astigmatism", "phi34_rad"])
def test_terms_mean_what_the_engine_takes_them_for(name: str) -> None:
    key, value = term(name, 0.37)
    mine, theirs = aberrations({key: value}), aberrations({name: 0.37})
    assert mine.terms == theirs.terms and torch.allclose(mine.values_A, theirs.values_A, rtol=1e-12, atol=0)


def test_every_problem_is_named_with_its_line_and_a_suggestion() -> None:
    found = problems(
        "schema: 1\nkind: reconstruct\nmethod: ssb\nupsmple: 2\nupsample: 2.5\ntwin: underfocs\ncalibration:\n  energy_eV: 300 mrad\n"
        "  rotaton_deg: 3\n  semiangle_mrad: {value: 20, sgma: 1}\n  transpose: 1\n  scan_step_y_A: -1\n  aberrations:\n    C10_A: far\n"
        "dead_px: [[1, 2], 3]\n",
        "reconstruct",
    )
    lines = {key: line for key, line, _ in found}
    said = {key: message for key, _, message in found}
    assert lines == {
        "upsmple": 4, "upsample": 5, "twin": 6, "calibration.energy_eV": 8, "calibration.rotaton_deg": 9, "calibration.semiangle_mrad": 10,
        "calibration.transpose": 11, "calibration.scan_step_y_A": 12, "calibration.aberrations": 14, "dead_px.1": 15,
    }
    assert [line for _, line, _ in found] == sorted(lines.values())
    assert "did you mean upsample" in said["upsmple"] and "whole number" in said["upsample"] and "did you mean underfocus" in said["twin"]
    assert "another kind" in said["calibration.energy_eV"] and "rotation_deg" in said["calibration.rotaton_deg"]
    assert "did you mean sigma" in said["calibration.semiangle_mrad"] and "true or false" in said["calibration.transpose"]
    assert "positive" in said["calibration.scan_step_y_A"] and "C10_A" in said["calibration.aberrations"] and "[y, x]" in said["dead_px.1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scan_shape: 64\n", "two whole numbers [y, x], got 64"),
        ("scan_shape: [64, 64.5]\n", "two whole numbers"),
        ("scan_shape: [64]\n", "two whole numbers"),
        ("dose_e_per_A2: .inf\n", "no finite number"),
        ("dose_e_per_A2: 3 A\n", "another kind"),
        ("energy_eV: true\n", "a number in eV, got True"),
        ("energy_eV:\n", "energy_eV must be given: beam energy, eV"),
        ("transpose: 1\n", "true or false"),
        ("specimen: [a]\n", "text, got ['a']"),
        ("aberrations: 3\n", "names with values"),
        ("aberrations: {defocus: 3, C10: 4}\n", "C10_A is given twice"),
        ("aberrations: {C13: 4}\n", "unknown aberration 'C13'"),
        ("semiangle_mrad: 90\n", "does not fit on the detector"),
        ("7: 8\n", "unknown key '7'"),
        ("seed: 1.0\n", "whole number"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(text: str, words: str) -> None:
    (_, _, message), *rest = problems(text, "simulate")
    assert words in message and not rest and "\n" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", "b.c is given twice"),
        ("a: [1, {\n", "not YAML"),
        ("- 1\n", "mapping"),
        ("a: !!python/object:os.system x\n", "not YAML"),
        ("a: !!bool maybe\n", "not YAML"),
        ("a: 2024-99-99\n", "not YAML"),
        ("? [1]\n: 2\n", "not YAML"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
        pytest.param("[" * 5000, "not YAML", id="deep"),
        pytest.param("a: \x00\n", "not YAML", id="zero"),
    ],
)
def test_text_that_is_no_recipe_is_refused(text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_document(text)


def test_aliases_neither_explode_nor_loop() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{p}, *{p}, *{p}, *{p}, *{p}, *{p}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True))
    assert len(parse_document(bomb).lines) == 9
    assert problems("calibration: &a\n  energy_eV: *a\n", "calibration")


def test_versions_and_kinds() -> None:
    with pytest.raises(FormatError, match=r"later version.*update exitwave"):
        kind_of(parse_document("schema: 2\nkind: simulate\n"), kinds())
    with pytest.raises(FormatError, match="no version"):
        kind_of(parse_document("schema: one\nkind: simulate\n"), kinds())
    with pytest.raises(InputError, match="did you mean simulate"):
        kind_of(parse_document("kind: simulat\n"), kinds())
    with pytest.raises(InputError, match="does not say its kind"):
        kind_of(parse_document("a: 1\n"), kinds())
    assert kind_of(parse_document("a: 1\n"), kinds(), "calibrate").name == "calibrate"


def test_set_puts_values_in_and_never_changes_the_document() -> None:
    document = parse_document("a: {b: 1, c: 2}\nd: 3\n")
    changed = with_values(document, ["a.b=300 kV", "a.e.f=[1, 2]", "d=", "g=x=y", "h=-1e-5"])
    assert changed.tree == {"a": {"b": "300 kV", "c": 2, "e": {"f": [1, 2]}}, "d": None, "g": "x=y", "h": -1e-5}
    assert document.tree == {"a": {"b": 1, "c": 2}, "d": 3} and "a.b" not in changed.lines and changed.lines["a.c"] == 1
    for bad in ("a.b", "=1", "d.x=1", "a..b=1", "a.b=[1"):
        with pytest.raises(InputError):
            with_values(document, [bad])


def test_bare_fields_are_a_calibration(tmp_path: Any) -> None:
    document = whole(parse_document("energy_eV: 80 kV\ndead_px: [[1, 2]]\nrotaton_deg: 3\n"))
    recipe, found = checked(document, kinds()["calibration"])
    assert recipe is None and [(problem.key, problem.line) for problem in found] == [("calibration.rotaton_deg", 3)]
    path = tmp_path / "mine.yaml"
    path.write_text("rotation_deg: -54 deg\ntranspose: true\n")
    known = calibration_in(loaded(str(path), ("calibration",)).values.calibration)
    assert known.rotation_deg.value == -54 and known.transpose.value is True and known.transpose.source == "given" and not known.energy_eV.known


def test_an_alias_takes_its_error_and_sign_along() -> None:
    text = "calibration:\n  aberrations: {defocus: {value: 2 um, sigma: 3 nm, source: measured}, phi12_rad: {value: 1, sigma: 0.1}}\n"
    known = calibration_in(recipe_in(text, "calibration").values.calibration)
    assert known.aberrations["C10_A"].as_json() == {"value": -20000.0, "sigma": 30.0, "source": "measured"}
    assert known.aberrations["phi12_deg"].sigma == pytest.approx(5.729578)


def test_a_quantity_that_nobody_can_store_is_refused() -> None:
    with pytest.raises(InputError, match="no finite number"):
        section_of(Calibration(fano=Quantity(value=math.nan, source="measured")))


def test_dead_pixels_become_a_mask_of_this_detector() -> None:
    mask = live_pixels(((1, 2), (0, 4)), (3, 5), "it")
    assert mask is not None and mask.shape == (3, 5) and (~mask).sum() == 2 and not mask[1, 2] and not mask[0, 4]
    assert live_pixels((), (3, 5), "it") is None
    for pixel in ((3, 0), (0, 5), (-1, 0)):
        with pytest.raises(FormatError, match="does not fit the detector"):
            live_pixels((pixel,), (3, 5), "it")


def test_a_stored_tree_is_plain() -> None:
    tree = plain(recipe_in("calibration: {energy_eV: 3 keV}\ndead_px: [[1, 2]]\n", "calibration").values)
    assert tree["dead_px"] == [[1, 2]] and tree["calibration"]["energy_eV"] == {"value": 3000.0, "sigma": None, "source": "given"}
