"""Values per voxel as files that others read, and as pictures; tables of regions."""
