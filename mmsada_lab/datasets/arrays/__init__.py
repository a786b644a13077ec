"""Arrays and features: sensors, skeletons, audio, features of segments, small video."""
