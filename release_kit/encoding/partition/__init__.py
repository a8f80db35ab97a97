"""What each set of features explains alone and together, with intervals."""
