"""Trains runs that differ in some keys, one after the other, and compares them."""
