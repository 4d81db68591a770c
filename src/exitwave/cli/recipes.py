"""The kinds of recipe, made from the options of the rooms, and reading them for the verbs."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache, partial
from typing import Any

import numpy as np
from pydantic import Field

from exitwave import __version__
from exitwave.core import InputError
from exitwave.data import Calibration
from exitwave.io import writing
from exitwave.io.recipes import (
    CALIBRATION_SECTION,
    DEAD_SECTION,
    NOTES_SECTION,
    QUIET,
    Document,
    Kind,
    Recipe,
    RecipeModel,
    calibration_in,
    kind_of,
    live_pixels,
    model_of,
    read_document,
    recipe_of,
    recipe_text,
    record_of,
    section_of,
    with_values,
)
from exitwave.io.recipes.calibration import MEANING
from exitwave.io.recipes.foreign import recognised
from exitwave.matter.build import MEANING as SPECIMEN_MEANING
from exitwave.matter.build import PART_MEANING, Part, SpecimenRecipe
from exitwave.recon.iterative.options import PTYCHO_MEANING, PtychoOptions
from exitwave.recon.options import CALIBRATE_MEANING, FUSE_MEANING, RECONSTRUCT_MEANING, CalibrateOptions, FuseOptions, ReconstructOptions
from exitwave.simulate.recipe import MEANING as SIMULATE_MEANING
from exitwave.simulate.recipe import FourDRecipe
from exitwave.simulate.scan_recipe import MEANING as STEM_MEANING
from exitwave.simulate.scan_recipe import StemRecipe
from exitwave.simulate.tem import MEANING as TEM_MEANING
from exitwave.simulate.tem import TemRecipe

__all__ = ["MEANING", "calibration_yaml", "checked_for", "document_in", "kinds", "loaded", "made", "read_calibration", "write_text"]


class _CalibrationRecipe(RecipeModel):
    """What `calibrate` writes."""


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind of recipe by name."""
    sections = {"calibration": CALIBRATION_SECTION, "dead_px": DEAD_SECTION}
    calibrate = model_of(CalibrateOptions, CALIBRATE_MEANING, sections={"calibration": CALIBRATION_SECTION})
    reconstruct = model_of(ReconstructOptions, RECONSTRUCT_MEANING, sections=sections, required=frozenset({"method"}))
    fuse = model_of(FuseOptions, FUSE_MEANING, sections=sections)
    ptycho = model_of(PtychoOptions, PTYCHO_MEANING, sections=sections)
    simulate = model_of(FourDRecipe, SIMULATE_MEANING)
    rows: tuple[tuple[str, str, str, type[RecipeModel], type | None], ...] = (
        ("simulate", "4D-STEM counts of a specimen that need not exist.", "simulate THIS -o SCAN.h5", simulate, FourDRecipe),
        ("tem", "TEM images of a specimen that need not exist.", "simulate tem THIS -o IMAGES.h5", model_of(TemRecipe, TEM_MEANING), TemRecipe),
        ("stem", "STEM images of a specimen that need not exist.", "simulate stem THIS -o IMAGES.h5", model_of(StemRecipe, STEM_MEANING), StemRecipe),
        ("calibrate", "Measuring the instrument from a scan.", "calibrate SCAN --recipe THIS -o CALIBRATION.yaml", calibrate, CalibrateOptions),
        ("reconstruct", "A phase image of a scan.", "reconstruct SCAN --recipe THIS -o OUT.h5", reconstruct, ReconstructOptions),
        ("ptycho", "An iterative fit of phase and probe.", "reconstruct SCAN --method ptycho --recipe THIS -o OUT.h5", ptycho, PtychoOptions),
        ("fuse", "Phase and dark field of a scan in one image.", "fuse SCAN --recipe THIS -o OUT.h5", fuse, FuseOptions),
        ("calibration", "The calibration of a scan.", "reconstruct SCAN --recipe THIS --method ssb -o OUT.h5", _calibration_model(calibrate), None),
    )
    found = {name: Kind(name=name, about=about, use=f"Use: exitwave {use}", model=model, build=partial(_built, record))
             for name, about, use, model, record in rows}
    return {**found, "specimen": Kind(name="specimen", about="A structure made to order.", use="Use: exitwave specimen THIS -o ATOMS.xyz",
                                      model=_specimen_model(), build=specimen_record)}


def specimen_record(model: Any) -> SpecimenRecipe:
    """The record that a recipe of kind specimen describes."""
    values = {f.name: getattr(model, f.name) for f in fields(SpecimenRecipe) if f.name != "parts"}
    return SpecimenRecipe(**values, parts={name: record_of(Part, part) for name, part in model.parts.items()})


def _specimen_model() -> type[RecipeModel]:
    """Parts are models of their own; the template shows two."""
    part: Any = model_of(Part, PART_MEANING)

    def example() -> dict[str, Any]:
        return {name: part(**{f.name: getattr(one, f.name) for f in fields(Part)}) for name, one in SpecimenRecipe().parts.items()}

    parts: Any = (dict[str, part], Field(default_factory=example, description=SPECIMEN_MEANING["parts"]))
    return model_of(SpecimenRecipe, SPECIMEN_MEANING, sections={"parts": parts})


def _built(record: type | None, model: RecipeModel) -> object:
    """The record that a kind's model describes; a calibration has none beside the model."""
    return None if record is None else record_of(record, model)


def _calibration_model(calibrate: type[RecipeModel]) -> type[RecipeModel]:
    import pydantic

    asked: Any = (calibrate | None, Field(default=None, description="what was asked of exitwave calibrate", json_schema_extra=QUIET))
    sections: dict[str, Any] = {"calibration": CALIBRATION_SECTION, "dead_px": DEAD_SECTION, "notes": NOTES_SECTION, "asked": asked}
    return pydantic.create_model("CalibrationRecipe", __base__=_CalibrationRecipe, **sections)


def loaded(path: str, wanted: Collection[str], sets: Sequence[str] = (), default: str | None = None) -> Recipe:
    """The recipe in a file, with `--set` values on top, for a verb that takes the kinds `wanted`.

    Raises:
        InputError: no such file, a kind that the verb does not take, parameters of another program, or problems (all of them are named).
        FormatError: no YAML, or a later version.
    """
    return checked_for(document_in(path), wanted, sets, default)


def document_in(path: str) -> Document:
    """The document in a YAML file, or the recipe that a result file carries.

    Raises:
        InputError, FormatError: no such file, no YAML, no result.
    """
    if not path.lower().endswith((".h5", ".hdf5", ".nxs")):
        return read_document(path)
    from exitwave.io import read_result

    return Document(tree=stored(read_result(path).recipe), lines={}, what=path)


def stored(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe inside a result without what describes the run alone."""
    return {name: _listed(value) for name, value in tree.items() if name not in ("verb", "memory_bytes")}


def _listed(value: Any) -> Any:
    """Arrays and tuples as lists, mappings as dicts."""
    if isinstance(value, Mapping):
        return {name: _listed(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_listed(inner) for inner in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def checked_for(
    document: Document, wanted: Collection[str], sets: Sequence[str] = (), default: str | None = None, flags: Mapping[str, Any] | None = None
) -> Recipe:
    """As `loaded`, for a document, with the values of flags on top of everything."""
    refuse_foreign(document)
    document = whole(with_values(document, sets), wanted)
    document = replace(document, tree={**document.tree, **(flags or {})})
    kind = kind_of(document, kinds(), default or guessed(document.tree, wanted))
    if kind.name not in wanted:
        raise InputError(f"{document.what} is a recipe of another kind", expected=" or ".join(wanted), got=kind.name, remedy=kind.use)
    return recipe_of(document, kind)


def refuse_foreign(document: Document) -> None:
    """Refuse parameters of another program, with the command that converts them.

    Raises:
        InputError: they are.
    """
    program = None if "kind" in document.tree else recognised(document.tree)
    if program is not None:
        raise InputError(
            f"{document.what} holds parameters of {program}",
            expected="a recipe of exitwave",
            remedy=f"convert them: exitwave init calibration --from {document.what} > recipe.yaml",
        )


def whole(document: Document, wanted: Collection[str] = ("calibration",)) -> Document:
    """The document; bare fields of a calibration, without a kind, are put under `calibration`."""
    tree = document.tree
    names = {f.name for f in fields(Calibration)}  # type: ignore[arg-type]
    if "calibration" not in wanted or "kind" in tree or "calibration" in tree or not names & set(tree) or "method" in tree:
        return document
    apart = {name: tree[name] for name in ("schema", "dead_px", "notes") if name in tree}
    inner = {name: value for name, value in tree.items() if name not in apart}
    lines = {name if name.split(".")[0] in apart else f"calibration.{name}": line for name, line in document.lines.items()}
    return replace(document, tree={**apart, "calibration": inner}, lines=lines)


def guessed(tree: Mapping[str, Any], wanted: Collection[str]) -> str | None:
    """The kind of a tree that does not say: by the first key that tells it from the kinds below."""
    for key, kind in (("wedges", "fuse"), ("inner", "fuse"), ("iterations", "ptycho"),
                      ("method", "reconstruct"), ("specimen", "simulate"), ("calibration", "calibration")):
        if key in tree and kind in wanted:
            return kind
    return "calibration" if "calibration" in wanted and tree and "schema" not in tree else None


def read_calibration(path: str, frame: tuple[int, int]) -> tuple[Calibration, np.ndarray | None]:
    """The calibration in a recipe, and the mask of live pixels (ky, kx) where it names dead ones.

    Raises:
        InputError, FormatError: as `loaded`; dead pixels outside the frame.
    """
    values = loaded(path, ("calibration", "reconstruct", "fuse", "ptycho")).values
    return calibration_in(values.calibration), live_pixels(values.dead_px, frame, path)


def calibration_yaml(calibration: Calibration, dead: np.ndarray, notes: Sequence[str], what: str, asked: Recipe | None = None) -> str:
    """The text of a recipe. `dead` (n, 2) are detector pixels (y, x) to leave out; `asked` is the recipe that was carried out."""
    header = (
        f"Calibration of {' '.join(what.split())}, by exitwave {__version__}. Use: exitwave reconstruct FILE --recipe THIS --method ssb -o OUT.h5",
        "A value is {value, sigma (one standard error, null: not known), source} or just the value.",
    )
    pairs = tuple((int(y), int(x)) for y, x in np.asarray(dead).reshape(-1, 2))
    values = kinds()["calibration"].model(calibration=section_of(calibration), dead_px=pairs, notes=tuple(notes), asked=asked and asked.values)
    return recipe_text(Recipe(kind="calibration", values=values, header=header))


def made(kind: str, tree: Mapping[str, Any]) -> Recipe:
    """The recipe of a tree of values in our own types.

    Raises:
        InputError: what is wrong with it.
    """
    return recipe_of(Document(tree=tree, lines={}, what=f"the options of {kind}"), kinds()[kind])


def write_text(path: str | os.PathLike[str], text: str, force: bool) -> None:
    """A text file that appears whole or not at all."""
    with writing(path, force) as partial:
        partial.write_text(text, encoding="utf-8")
