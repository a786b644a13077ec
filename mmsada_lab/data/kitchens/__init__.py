"""Kitchens: an embedded data set of three procedural kitchens, and its export as JPEG frames."""
