"""CODATA 2018 constants in the package's units (eV, Angstrom, second, volt)."""

HC_EV_A = 12398.419843320026  # h c, exact since 2019
ELECTRON_REST_EV = 510998.95000  # m_e c^2, CODATA 2018
C_A_PER_S = 2.99792458e18
BOHR_A = 0.529177210903
# h^2 / (2 pi m_e e) in V A^2: turns an electron scattering factor in A into a projected potential in V A
POTENTIAL_PER_FACTOR_VA2 = HC_EV_A**2 / (2 * 3.141592653589793 * ELECTRON_REST_EV)
