"""What data are like and what training changed: dataset properties and layer changes, as two tables of the study.

``properties.py`` and ``layers.py`` are the two entries; the other modules each own one measure or one kind of input.
"""
