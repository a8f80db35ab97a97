"""What the tables say: gains with intervals, verdicts on claims, maps of models, figures and the report."""
