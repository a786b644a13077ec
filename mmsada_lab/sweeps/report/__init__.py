"""`mmsada report`: a folder of runs as a folder of pages that can be sent to somebody."""
