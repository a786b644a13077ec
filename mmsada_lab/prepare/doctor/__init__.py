"""`mmsada data check`: reads a data set once and reports what would stop or spoil a run. Start with `check.py`."""
