"""Every kind of result is valid NXem, by the validator of the definition's own makers; a damaged one is not."""

import logging
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import InputError
from exitwave.data.calibration import Calibration, Quantity
from exitwave.io.nexus import Plane
from exitwave.io.nxem import REQUIRED, Facts, facts_of, missing, read_facts
from exitwave.io.provenance import InputFile

KNOWN = Facts(start_time="2026-02-28T14:30:00+01:00", end_time="2026-02-28T15:00:00Z", sample_name="MoS2 flake", is_simulation=False,
              preparation_date="2026-02-27T10:00:00+00:00", atom_types="Mo,S", physical_form="thin_film", description="exfoliated")
MODEL = Facts(start_time="2026-02-28T14:30:00+01:00", is_simulation=True, preparation_date="2026-02-28T14:30:00+01:00", atom_types="Mo,S")
RNG = np.random.default_rng(8)
PLANES = (
    Plane(name="phase", array=RNG.normal(size=(5, 8)).astype(np.float32), pitch=(0.5, 0.25), unit="rad", title="SSB phase"),
    Plane(name="half_a", array=RNG.normal(size=(5, 8)), pitch=(0.5, 0.25), unit="rad"),
    Plane(name="ctf", array=(RNG.normal(size=(5, 8)) * 1j).astype(np.complex64), pitch=(0.4, 0.5), pitch_unit="1/A", title="transfer"),
    Plane(name="noise", array=RNG.normal(size=(5, 8)).astype(np.float32), pitch=(0.4, 0.5), pitch_unit="1/A", unit="rad^2"),
)
OPTICS = Calibration(energy_eV=Quantity(value=80e3, source="file"), scan_step_y_A=Quantity(value=0.5, source="given"),
                     detector_mrad=Quantity(value=2.0, source="given"), aberrations={"C10_A": Quantity(value=-200.0, sigma=3.0, source="measured")})
FRAMES = RNG.integers(0, 9, (3, 4, 5, 6)).astype(np.uint16)


def result(path: Path, facts: Facts) -> tuple[str, ...]:
    source = InputFile(path="scan.h5", bytes=3, sha256="ab" * 32, options={})
    return io.write_result(path, images=PLANES, recipe={"method": "ssb", "dead_px": np.zeros((0, 2), np.int64)}, calibration=OPTICS,
                           metrics={"frc": np.linspace(0, 1, 4)}, provenance={"input": source, "threads": 2}, facts=facts)


def scan(path: Path, facts: Facts) -> tuple[str, ...]:
    return io.write_scan(path, FRAMES, shape=FRAMES.shape, dtype="uint16", calibration=OPTICS, attributes={"specimen": "MoS2"}, truth=PLANES[:1],
                         facts=facts, recipe={"seed": 3})


KINDS = {"reconstruction": (result, KNOWN), "reconstruction of a simulation": (result, MODEL), "simulated scan": (scan, MODEL), "scan": (scan, KNOWN)}


def valid(path: Path) -> bool:
    """The boolean of pynxtools (its command exits with 0 either way)."""
    validation = pytest.importorskip("pynxtools.dataconverter.validation", reason="NXem is validated where pynxtools is installed: the extra `nexus`")
    from pynxtools.dataconverter.helpers import collector

    collector.clear()
    logging.getLogger("pynxtools").setLevel(logging.CRITICAL)
    with h5py.File(path) as file:
        return bool(validation.validate_hdf_group_against("NXem", file["entry"], str(path)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_result_is_nxem(kind: str, tmp_path: Path) -> None:
    write, facts = KINDS[kind]
    assert write(tmp_path / "r.h5", facts) == ()
    assert valid(tmp_path / "r.h5")


def without(path: str) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        del file[path]

    return damage


def renamed(file: h5py.File) -> None:
    del file["entry/definition"]
    file["entry/definition"] = "NXapm"


def undated(file: h5py.File) -> None:
    file["entry/start_time"][...] = "yesterday"


@pytest.mark.parametrize("damage", [without("entry/sample/atom_types"), without("entry/sample"), without("entry/definition"),
                                    without("entry/phase/data"), renamed, undated])
def test_a_damaged_result_is_not(damage: Callable[[h5py.File], None], tmp_path: Path) -> None:
    result(tmp_path / "r.h5", KNOWN)
    with h5py.File(tmp_path / "r.h5", "a") as file:
        damage(file)
    assert not valid(tmp_path / "r.h5")


def test_what_is_missing_is_what_the_validator_misses(tmp_path: Path) -> None:
    lacking = result(tmp_path / "r.h5", Facts(atom_types="Mo,S"))
    assert lacking == ("start_time", "sample/is_simulation", "sample/preparation_date")
    assert not valid(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "a") as file:
        file["entry/start_time"], file["entry/sample/is_simulation"] = "2026-02-28T14:30:00+01:00", False
        file["entry/sample/preparation_date"] = "2026-02-28T14:30:00+01:00"
    assert valid(tmp_path / "r.h5")


@pytest.mark.parametrize("name", ["r.h5", "r.zarr"])
@pytest.mark.parametrize("write", [result, scan])
def test_facts_travel_with_the_file(write: Callable[[Path, Facts], object], name: str, tmp_path: Path) -> None:
    write(tmp_path / name, KNOWN)
    assert str(read_facts(tmp_path / name)) == str(KNOWN)
    if write is scan:
        about = io.read_about(tmp_path / name)
        assert about["recipe"] == {"seed": 3}
        np.testing.assert_array_equal(about["truth"]["phase"].array, PLANES[0].array)


def test_nobody_is_made_to_invent(tmp_path: Path) -> None:
    assert missing(Facts()) == tuple(REQUIRED.values())
    np.save(tmp_path / "x.npy", np.zeros(3))
    (tmp_path / "text").write_text("x")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = 1
        entry = file.create_group("run7")
        entry["definition"], entry["start_time"] = "NXem", "last week"
        sample = entry.create_group("specimen")
        sample.attrs["NX_class"], sample["atom_types"] = "NXsample", "Au,C"
    for name in ("x.npy", "text", "none"):
        assert missing(read_facts(tmp_path / name)) == tuple(REQUIRED.values())
    told = read_facts(tmp_path / "other.h5")  # a time that is none is not known
    assert (told.start_time, told.atom_types) == (None, "Au,C")
    assert facts_of({"atom_types": "C", "is_simulation": "True"}, told).is_simulation is True


@pytest.mark.parametrize("bad", [{"start_time": "2026-02-28"}, {"end_time": "noon"}, {"atom_types": "Mo;S"}, {"atom_types": ""},
                                 {"physical_form": "dust"}])
def test_facts_that_are_none(bad: dict[str, str]) -> None:
    with pytest.raises(InputError):
        facts_of(bad, Facts())
