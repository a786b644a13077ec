"""The `epic:` door: video frames in the layouts of EPIC-Kitchens, from folders or from tars in place."""
