"""Gaps between domains in feature space. Open `table` first; `measures` are distances, `scopes` what they compare."""
