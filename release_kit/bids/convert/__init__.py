"""From a recipe to a BIDS dataset: the plan of its files, stages that resume, the files about the dataset."""
