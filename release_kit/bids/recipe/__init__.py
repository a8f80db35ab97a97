"""The recipe of a dataset: record, reader, schema, a first draft from a folder, the check against recordings."""
