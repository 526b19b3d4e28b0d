"""Calibrate and measure the shipped weights, and publish the figures."""
