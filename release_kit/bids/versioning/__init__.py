"""The dataset under DataLad: save, versions, siblings, partial download, proof after download, healing."""
