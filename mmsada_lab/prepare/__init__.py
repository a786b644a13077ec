"""Prepares data: import, split, check, show, export. Training never imports it. Start with `cli/data.py`."""
