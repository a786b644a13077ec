"""Data in: import, split, check, show, export. Training never imports it."""
