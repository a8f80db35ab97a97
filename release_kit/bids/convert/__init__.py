"""Recipe → dataset: what belongs into it, what of that is there already, and the writing of the rest."""
