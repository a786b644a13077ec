"""Many runs: `grid.py` says which, `plans.py` where they stand, `batch.py` runs them; `recipes.py` and `reproduce.py`
make the paper's tables of them. Open `batch.py` first.
"""
