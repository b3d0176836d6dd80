"""Preparation of a dataset: rows one by one, codes in batches, shards written completely or not at all."""
