"""Recordings with a planted truth, and how well an analysis recovers it."""
