"""Timed annotations of several levels, annotators and languages: table, readers, writers, cuts to runs, quality."""
