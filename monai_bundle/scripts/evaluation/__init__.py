"""Measure the shipped weights, choose operating points and write the report."""
