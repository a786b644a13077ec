"""Data: segments, windows, crops, batches, and the doors they come in through."""
