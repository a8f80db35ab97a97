"""Everything that was measured in a study, merged into a few tables that name where each row comes from."""
