"""What is done with a finished run: exact evaluation, and prediction on pictures or sentences."""
