"""Forms of an operation that exist for the speed of one platform."""
