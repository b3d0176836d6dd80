"""Preparation of a dataset: rows one by one, codes in batches, and shards, which are there whole or not at all."""
