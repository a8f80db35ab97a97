"""Ridge regression per voxel: primal, dual and banded, with cross-validation; himalaya is the reference."""
