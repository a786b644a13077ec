"""The command line: `mmsada`."""
