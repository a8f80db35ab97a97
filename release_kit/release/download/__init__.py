"""Downloading a release: selection, resumable fetching, every byte checked before a file takes its name."""
