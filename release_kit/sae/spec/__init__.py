"""The study file ``sae.yaml``: its keys, what they mean, and reading them."""
