"""The embedded kitchens: drawn, so that everything runs without a download. Start at `loader.py`."""
