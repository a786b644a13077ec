"""Many runs: grids, plans, clusters, recipes."""
