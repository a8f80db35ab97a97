"""Recordings and multi-level annotations → a validated BIDS dataset under DataLad → proved on re-download.

``recipe`` says what is where; ``recordings`` reads and writes images; ``sidecars`` knows their facts and keeps
identities out; ``annotations`` holds the timed table; ``convert`` makes the dataset; ``validate`` judges any dataset;
``versioning`` saves it, fetches it and proves it. Imported by its full name, so that pybids (``bids``) is not hidden.
"""
