"""Frames and optical flow as JPEG files, in the layouts of EPIC-Kitchens. Start at `loader.py`."""
