"""Tables about data and weights: properties of datasets under each base, changes of every layer."""
