"""The command line. Open `main.py` first; `sweeps.py`, `data.py` and `weights.py` hold the other commands."""
