"""JSON sidecars from headers and recipe, what the specification asks of them, and what must not leave the lab."""
