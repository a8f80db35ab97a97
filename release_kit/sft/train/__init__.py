"""One run from the base weights to its checkpoints: the loop, resuming, full and LoRA, the log and its picture."""
