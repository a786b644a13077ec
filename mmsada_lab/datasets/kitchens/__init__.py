"""The embedded kitchens: drawn, so that everything runs without data."""
