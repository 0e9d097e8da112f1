"""Compiled kernels. Import them late: importing anything but `layout` imports numba.

How functions are compiled and kept on disk is in `ase_hal.compiled`.

========================  ====================================================================
``simd``                  the vector of eight doubles everything is written in
``layout``                the arrays kernels are given
``cells``                 neighbour list
``geometry``              positions to radial functions and harmonics (lanes: neighbours)
``density``               these to A, and between lanes of neighbours and lanes of atoms
``products``              A to basis functions, and coefficients to dE/dA (lanes: atoms)
``force``                 dE/dA to forces of pairs (lanes: neighbours)
``passes``                a whole structure: descriptors, energy, forces
``single_atoms``          descriptors and coefficients of single atoms
``rows``                  derivatives of every single function
========================  ====================================================================
"""
