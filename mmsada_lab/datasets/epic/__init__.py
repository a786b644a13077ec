"""Frames and optical flow in the layouts of EPIC-Kitchens."""
