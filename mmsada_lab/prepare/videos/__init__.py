"""`mmsada data import-videos`: clips of several sites become frames, flow and a table. Start with `importing.py`."""
