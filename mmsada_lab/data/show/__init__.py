"""A page, or a moving picture, of one segment."""
