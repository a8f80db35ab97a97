"""Proving that files are what the manifest says: on this disk, from metadata, by sample; and repairing them."""
