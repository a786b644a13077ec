"""Backbones, the late-fusion network and the heads of MM-SADA."""
