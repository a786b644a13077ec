"""Many runs: a grid is planned, run in a batch, reported and kept. Open `batch.py` first, then `recipes.py`."""
