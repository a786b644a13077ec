"""How a step is computed, not what: devices, processes, readers that work ahead."""
