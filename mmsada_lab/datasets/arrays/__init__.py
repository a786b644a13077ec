"""Arrays and features of segments: sensors, skeletons, audio, small video. Start at `loader.py`."""
