"""One page of an analysis: numbers, maps, provenance."""
