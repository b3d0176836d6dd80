"""Preparation of a dataset: rows are read one by one, encoded in batches, and written in shards."""
