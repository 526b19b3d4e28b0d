"""Measure how well each set can be told apart without its lungs, and whether the model does so."""
