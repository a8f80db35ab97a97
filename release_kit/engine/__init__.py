"""Units of work on one machine, on several that share a folder, or on Slurm: leases, workers, failures."""
