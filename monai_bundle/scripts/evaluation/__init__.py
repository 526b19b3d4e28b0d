"""Calibrate and measure the shipped weights, and publish the figures."""

from scripts.train_extra import require_train_extra

require_train_extra()
