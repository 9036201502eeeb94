"""Serves a Predictor over HTTP: requests, their limits, and batches over requests."""
