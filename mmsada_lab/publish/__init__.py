"""Notebooks executed and shown. Open `notebooks.py` first: `demo.py` and `gallery.py` are built on it."""
