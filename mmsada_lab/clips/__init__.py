"""Clips: how windows of a segment become the tensors of a batch."""
