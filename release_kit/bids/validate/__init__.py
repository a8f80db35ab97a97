"""Is this a sound BIDS dataset: the reference validator and the checks that it lacks, in one report."""
