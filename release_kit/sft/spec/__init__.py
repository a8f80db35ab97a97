"""What a study says of its runs: settings, cells grouped into runs, the identity of a run, the plan.

Pure decisions over ``study.yaml``; reads no data and imports no torch.
"""
