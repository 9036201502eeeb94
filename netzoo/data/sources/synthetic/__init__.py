"""Synthetic flowers: a built-in data set that needs no download."""
