"""How a step is computed, not what: device and precision, several processes, batches that are read ahead.

Open `device.py` first.
"""
