"""Radiologists' verdicts: recorded by pages and API, listed for retraining."""
