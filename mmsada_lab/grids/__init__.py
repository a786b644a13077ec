"""Grids of runs: what is asked for, what is there already, where it runs and how."""
