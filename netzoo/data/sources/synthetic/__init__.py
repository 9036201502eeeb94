"""Drawn flowers: the embedded data set, which needs no download."""
