"""Tables and figures, computed from run folders alone (no torch)."""
