"""`exitwave eds` on a simulated wedge of zinc oxide: composition, thickness, factors from a standard, and one sentence on bad input."""

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from exitwave.cli.main import run
from exitwave.io import read_result
from exitwave.matter.xrays import super_x, xray_tables
from exitwave.simulate.eds import EdsBeam, counted, expected_spectra
from exitwave.simulate.eds_rays import wedge

pytest.importorskip("xraydb", reason="X-ray lines come from xraydb: pip install 'exitwave[eds]'")
DOSE = 6e9
THICKNESS_A = np.linspace(400, 3000, 5)
KNOWN = ["--lines", "O-Ka,Zn-Ka", "--dose-e", str(DOSE), *(f"--detector=22,{a},0.175" for a in (45, 135, 225, 315))]


def hyperspy_file(path: Path, values: np.ndarray, *, energy: bool = True, elevation: bool = True) -> None:
    """A spectrum image as HyperSpy stores it."""
    last = ("Energy", "keV", 0.01, -0.2, False) if energy else ("Energy", "", 1.0, 0.0, False)
    axes = [("y", "nm", 50.0, 0.0, True), ("x", "nm", 50.0, 0.0, True), last]
    with h5py.File(path, "w") as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.3"})
        group = file.create_group("Experiments/ZnO wedge")
        group["data"] = values
        for i, ((name, unit, scale, offset, navigate), size) in enumerate(zip(axes, values.shape, strict=True)):
            group.create_group(f"axis-{i}").attrs.update({"name": name, "units": unit, "scale": scale, "offset": offset, "size": size,
                                                          "navigate": navigate, "_type": "UniformDataAxis"})
        microscope = group.create_group("metadata/Acquisition_instrument/TEM")
        microscope.attrs["beam_energy"] = 200.0
        detector = microscope.create_group("Detector/EDS")
        detector.attrs.update({"energy_resolution_MnKa": 130.0, **({"elevation_angle": 22.0, "azimuth_angle": 0.0} if elevation else {})})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("eds")
    weights = np.array([15.999, 65.38]) / 81.379
    energies = -200 + 10.0 * np.arange(1100)
    sheet = wedge(("O", "Zn"), tuple(weights), 5606.0, THICKNESS_A[None], (500.0, 500.0))
    mean = expected_spectra(sheet, energies, EdsBeam(energy_eV=200e3, dose_e=DOSE), super_x(elevation_deg=22.0), xray_tables())
    counts = counted(np.broadcast_to(mean, (3, *mean.shape[1:])), seed=4).astype(np.uint32)
    hyperspy_file(place / "zno.hspy", counts)
    hyperspy_file(place / "standard.hspy", counts[:, 2:3])
    hyperspy_file(place / "bare.hspy", counts, energy=False)
    hyperspy_file(place / "blind.hspy", counts, elevation=False)
    hyperspy_file(place / "negative.hspy", counts.astype(np.float32) - 20)
    hyperspy_file(place / "empty.hspy", 0 * counts)
    return place


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    status = run([*args, "--json"])
    out = capsys.readouterr()
    assert status == 0, out.err
    tree: dict[str, Any] = json.loads(out.out)
    return tree


def test_a_wedge_is_zinc_oxide_everywhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Zeta by fits: composition and thickness in every pixel, CSV, picture, report, a result with its planes."""
    made = {name: str(folder / f"out{end}") for name, end in (("-o", ".h5"), ("--png", ".png"), ("--csv", ".csv"), ("--html", ".html"))}
    said = told(["eds", str(folder / "zno.hspy"), *KNOWN, "--density-g-cm3", "5.606", *(part for pair in made.items() for part in pair)], capsys)
    oxygen = said["metrics"]["elements"]["O"]
    assert abs(oxygen["atomic"]["value"] - 0.5) < 0.008 and oxygen["atomic_sigma_counts"] < 0.002 < 0.02 < oxygen["atomic"]["sigma"]
    assert -0.02 < oxygen["atomic_systematic_of_table"] < -0.008
    assert abs(said["metrics"]["thickness_nm"]["value"] - THICKNESS_A.mean() / 10) < 3
    assert said["pitch_A"] == [500.0, 500.0] and said["method"] == "zeta"
    result = read_result(made["-o"])
    np.testing.assert_allclose(result.images["mass_thickness"].array, np.tile(5606e-10 * THICKNESS_A, (3, 1)), rtol=0.02)
    assert abs(result.images["atomic_O"].array - 0.5).max() < 5 * 0.004
    rows = list(csv.DictReader(Path(made["--csv"]).read_text().splitlines()))
    assert len(rows) == 15 and abs(float(rows[7]["O at%"]) - 100 * result.images["atomic_O"].array[1, 2]) < 1e-3
    page = Path(made["--html"]).read_text(encoding="utf-8")
    assert "O, at%" in page and "data:image/png;base64," in page and Path(made["--png"]).stat().st_size > 20_000


def test_factors_of_a_standard_serve_the_next_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A standard of known thickness gives zeta; a profile quantified with them is 50:50 within the errors of counts."""
    at = f"{THICKNESS_A[2]:g}"
    told(["eds", str(folder / "standard.hspy"), *KNOWN, "--lines-by", "windows", "--standard", "ZnO", "--thickness-A", at, "--density-g-cm3", "5.606",
          "--thickness-sigma", "0.03", "-o", str(folder / "standard.h5")], capsys)
    kept = read_result(folder / "standard.h5").model["factors"]
    assert kept["absolute"] and kept["source"] == "standard ZnO" and np.sqrt(kept["covariance"][1, 1]) > 0.03
    said = told(["eds", str(folder / "zno.hspy"), *KNOWN, "--lines-by", "windows", "--factors", str(folder / "standard.h5"), "--profile", "x",
                 "-o", str(folder / "profile.h5")], capsys)
    profile = read_result(folder / "profile.h5").images["atomic_O"].array
    assert profile.shape == (1, 5) and abs(profile - 0.5).max() < 0.006
    assert said["metrics"]["elements"]["O"]["atomic"]["sigma"] < 0.02


def test_cross_sections_are_barn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--method cross-section takes barn: the same film as with the zeta factors that these are."""
    flags = ["--lines-by", "windows", "--bin", "3,5", "-o", str(folder / "barn.h5"), "--force"]
    barn = {"O-Ka": 15.999 / 760, "Zn-Ka": 65.38 / 1560}  # times 1e-3 / (N_A 1e-28)
    typed = ",".join(f"{name}={value * 1e25 / 6.02214076e23!r}" for name, value in barn.items())
    zeta, cross = (told(["eds", str(folder / "zno.hspy"), *KNOWN, *flags, *more], capsys)["metrics"] for more in (
        ["--factors", "O-Ka=760,Zn-Ka=1560"], ["-m", "cross-section", "--factors", typed]))
    assert cross["factors"] == "cross sections"
    assert abs(cross["mass_thickness_kg_m2"]["value"] / zeta["mass_thickness_kg_m2"]["value"] - 1) < 1e-4
    assert abs(cross["elements"]["O"]["atomic"]["value"] - zeta["elements"]["O"]["atomic"]["value"]) < 1e-5


def test_lines_that_overlap_say_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Chromium that is not there lies over oxygen: the covariance knows it, and the error of oxygen grows."""
    flags = ["--lines-by", "windows", "--bin", "3,5"]
    alone = told(["eds", str(folder / "zno.hspy"), *KNOWN, *flags, "-o", str(folder / "alone.h5")], capsys)
    both = told(["eds", str(folder / "zno.hspy"), *KNOWN, *flags, "--lines", "O-Ka,Cr-La,Zn-Ka", "-o", str(folder / "both.h5")], capsys)
    pair = both["metrics"]["correlation_of_counts"]
    assert pair["lines"] == ["O-Ka", "Cr-La"] and pair["value"] < -0.15
    oxygen = [told["metrics"]["elements"]["O"]["counts"] for told in (alone, both)]
    assert oxygen[1]["sigma"] > 1.01 * oxygen[0]["sigma"] and abs(oxygen[1]["value"] / oxygen[0]["value"] - 1) < 0.05


def test_a_profile_draws_every_element() -> None:
    """Seven elements, more than there are colours."""
    from exitwave.plot.eds import EdsView, eds_figure

    names, at = ("O", "Mg", "Al", "Si", "Ca", "Ti", "Fe"), np.full((1, 3, 7), 1 / 7)
    made = eds_figure(EdsView(title="t", elements=names, atomic=at, sigma=0.1 * at, sigma_counts=0.01 * at, thickness=None, thickness_sigma=None,
                              pitch_A=None, energies_eV=10.0 * np.arange(300), spectrum=np.ones(300), fitted=None, background=None,
                              marks=(("O-Ka", 525.0),)))
    legend = made.subfigs[0].axes[0].get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == list(names)


BAD = {
    "no dose": (["zno.hspy", "--lines", "O-Ka,Zn-Ka"], ("zeta needs the electrons per pixel", "--dose-e", "--method cliff-lorimer")),
    "absorption without a thickness": (["zno.hspy", "--lines", "O-Ka,Zn-Ka", "-m", "cliff-lorimer"], ("needs the thickness", "--no-absorption")),
    "thickness without a density": (["zno.hspy", *KNOWN, "-m", "cliff-lorimer", "--thickness-A", "900"],
                                    ("density of the compound", "--density-g-cm3")),
    "no elevation": (["blind.hspy", "--lines", "O-Ka,Zn-Ka", "--dose-e", "1e9"], ("elevation", "--detector")),
    "unknown element": (["zno.hspy", *KNOWN, "--lines", "Xx-Ka"], ("no element 'Xx'",)),
    "unknown line": (["zno.hspy", *KNOWN, "--lines", "O-La"], ("O has no line O-La",)),
    "no line at all": (["zno.hspy", *KNOWN, "--lines", "oxygen"], ("names no X-ray line", "Zn-Ka")),
    "two lines of one element": (["zno.hspy", *KNOWN, "--lines", "Zn-Ka,Zn-La"], ("two lines of Zn",)),
    "line beyond the spectrum": (["zno.hspy", *KNOWN, "--lines", "O-Ka,Sr-Ka"], ("Sr-Ka", "lies beyond the spectrum")),
    "negative counts": (["negative.hspy", *KNOWN], ("negative counts",)),
    "no counts": (["empty.hspy", *KNOWN], ("hold no counts",)),
    "no energy axis": (["bare.hspy", *KNOWN], ("energy axis is not calibrated", "--energy-scale")),
    "a factor is missing": (["zno.hspy", *KNOWN, "--factors", "O-Ka=700"], ("no factor for Zn-Ka",)),
    "factors that are none": (["zno.hspy", *KNOWN, "--factors", "O-Ka=x,Zn-Ka=1"], ("--factors is NAME=VALUE",)),
    "a detector that is none": (["zno.hspy", "--lines", "O-Ka", "--dose-e", "1", "--detector", "low"], ("--detector is",)),
    "a surface that hides": (["zno.hspy", *KNOWN, "--slope", "0,0.8"], ("hides it from a detector",)),
    "bins too large": (["zno.hspy", *KNOWN, "--bin", "9,9"], ("bins are no larger",)),
    "standard without a thickness": (["zno.hspy", *KNOWN, "--standard", "ZnO"], ("thickness and density",)),
    "standard that is no formula": (["zno.hspy", *KNOWN, "--lines-by", "windows", "--standard", "zno", "--thickness-A", "10", "--density-g-cm3", "5"],
                                    ("is no formula",)),
    "theory without a solid angle": (["zno.hspy", "--lines", "O-Ka,Zn-Ka", "--dose-e", "1e9"], ("solid angle", "--detector", "cliff-lorimer")),
    "what windows cannot do": (["zno.hspy", *KNOWN, "--lines-by", "windows", "--also", "C"], ("windows know nothing of --also",)),
    "a thickness that zeta would not use": (["zno.hspy", *KNOWN, "--thickness-A", "900", "--density-g-cm3", "5"], ("finds the thickness itself",)),
    "no positive dose": (["zno.hspy", *KNOWN, "--dose-e", "-1"], ("--dose-e is positive",)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    args, words = BAD[case]
    assert run(["eds", *args, "-o", "bad.h5"]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert error.count("\n") == 1 and "Traceback" not in error and not (folder / "bad.h5").exists()


def test_strontium_titanate_as_it_was_measured(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A point spectrum of SrTiO3 by four detectors, factors of theory: Sr over Ti is one within its error, and 100 nm explain the oxygen."""
    file = real_data / "EDS-STO.emd"
    if not file.exists():
        pytest.skip("EDS-STO.emd is not in the folder of real data")
    flags = ["--lines", "O-Ka,Ti-Ka,Sr-Ka", "-m", "cliff-lorimer", "--also", "C,Cu,Si,Al,Mo", "--from-eV", "300"]
    bare = told(["eds", str(file), *flags, "--no-absorption", "-o", str(tmp_path / "bare.h5")], capsys)["metrics"]["elements"]
    thick = told(["eds", str(file), *flags, "--thickness-A", "1000", "--density-g-cm3", "5.12", "-o", str(tmp_path / "thick.h5")], capsys)["metrics"]
    for elements in (bare, thick["elements"]):
        strontium, titanium = (elements[name]["atomic"] for name in ("Sr", "Ti"))
        assert abs(strontium["value"] / titanium["value"] - 1) < 0.14 * 1.5
    assert bare["O"]["atomic"]["value"] < 0.45
    assert abs(thick["elements"]["O"]["atomic"]["value"] - 0.6) < 2 * thick["elements"]["O"]["atomic"]["sigma"]
    assert len(thick["detectors"]) == 4 and abs(thick["detectors"][0]["elevation_deg"] - 18) < 0.01
