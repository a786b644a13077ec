"""Dataset formats: each opens one kind of data as a `MultiDomainData`, and none knows another. Start at `open.py`."""
