"""What a study starts from: base models and datasets made from installed or downloaded registry packages."""
