"""`mmsada data show`: one segment as a page or GIF, with its flow and its windows. Start with `segment.py`."""
