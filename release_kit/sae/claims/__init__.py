"""Claims of the published study held against the tables of a study, beside their nulls."""
