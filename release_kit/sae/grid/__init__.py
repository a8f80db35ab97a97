"""The grid of a study as units that any engine works on."""
