"""File formats of weights. Readers check bounds and never execute a file's contents."""
