"""Domain gaps: measures with null distributions, and their figures."""
