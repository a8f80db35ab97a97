"""Fine-tuning and evaluating the cells of a study: base model, data, training, the evaluation harness.

Leaves hashing, cards and publishing to ``release_kit.release``; what passes over is the study folder on disk.
"""
