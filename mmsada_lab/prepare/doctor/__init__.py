"""`mmsada data check`: reads a data set once and names what would stop or spoil a run."""
