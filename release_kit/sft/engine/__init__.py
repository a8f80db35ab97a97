"""Runs handed to workers: a ledger of leases in files, local processes, Slurm, machines that share a folder."""
