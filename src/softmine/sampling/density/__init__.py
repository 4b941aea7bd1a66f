"""Densities: piecewise constant on the cells of a map, and what an error has to be to make one."""
