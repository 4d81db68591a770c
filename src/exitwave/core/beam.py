"""The probing particle: energy to wavelength and interaction."""

from math import pi, sqrt
from typing import Literal

from exitwave.core.constants import C_A_PER_S, ELECTRON_REST_EV, HC_EV_A
from exitwave.core.errors import InputError
from exitwave.core.records import record


@record
class Beam:
    """A monochromatic beam. Make one with `Beam.electron(300e3)` or `Beam.photon(8e3)`; energy is the kinetic (photon) energy in eV.

    Wavelength: lambda = hc / sqrt(E (2 m c^2 + E)) for electrons, hc / E for photons (CODATA 2018 constants).
    """

    kind: Literal["electron", "photon"]
    energy_eV: float

    def __post_init__(self) -> None:
        if not 0 < self.energy_eV < 1e8:
            raise InputError("beam energy is out of range", expected="0 < energy_eV < 1e8", got=self.energy_eV,
                             remedy="energies are in eV: 300 kV is 300e3")

    @classmethod
    def electron(cls, energy_eV: float) -> "Beam":
        """An electron beam of the given accelerating energy in eV."""
        return cls(kind="electron", energy_eV=float(energy_eV))

    @classmethod
    def photon(cls, energy_eV: float) -> "Beam":
        """A photon beam of the given photon energy in eV."""
        return cls(kind="photon", energy_eV=float(energy_eV))

    @property
    def wavelength_A(self) -> float:
        """Vacuum wavelength in Angstrom."""
        if self.kind == "photon":
            return HC_EV_A / self.energy_eV
        return HC_EV_A / sqrt(self.energy_eV * (2 * ELECTRON_REST_EV + self.energy_eV))

    @property
    def gamma(self) -> float:
        """Lorentz factor (electrons)."""
        return 1 + self.energy_eV / ELECTRON_REST_EV if self.kind == "electron" else float("inf")

    @property
    def beta(self) -> float:
        """Speed over the speed of light."""
        return sqrt(1 - 1 / self.gamma**2) if self.kind == "electron" else 1.0

    @property
    def velocity_A_per_s(self) -> float:
        """Speed in Angstrom per second."""
        return self.beta * C_A_PER_S

    @property
    def sigma_rad_per_VA(self) -> float:
        """Interaction constant sigma = 2 pi gamma m e lambda / h^2 in rad per volt Angstrom.

        Raises:
            InputError: for photons, which a potential in volts does not deflect.
        """
        if self.kind != "electron":
            raise InputError("a photon has no interaction constant with an electrostatic potential", got=self.kind,
                             remedy="give the specimen's phase in rad")
        return 2 * pi * self.gamma * ELECTRON_REST_EV * self.wavelength_A / HC_EV_A**2
