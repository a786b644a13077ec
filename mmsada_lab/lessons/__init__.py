"""What lessons run beside the face of the package: runs side by side, sweeps and tables read back, a namespace."""
