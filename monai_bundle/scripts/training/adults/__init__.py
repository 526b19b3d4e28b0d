"""Fit the heads for adults to what the trained members compute, in closed form."""
