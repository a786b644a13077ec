"""Figures of single notebooks, a module each, independent of one another; `mmsada_lab.analysis.figures` lists them."""
