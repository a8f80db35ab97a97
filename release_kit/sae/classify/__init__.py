"""Which language a feature speaks, at which granularity, and the nulls that every share stands beside."""
