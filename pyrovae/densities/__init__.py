"""Densities that several models share, and what is done where values are missing."""
