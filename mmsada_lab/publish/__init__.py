"""Notebooks executed and shown."""
