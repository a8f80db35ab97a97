"""Encoding models: how well features of annotated films predict recordings, voxel by voxel, with honest statistics."""
