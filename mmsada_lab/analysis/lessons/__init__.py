"""Figures of single notebooks."""
