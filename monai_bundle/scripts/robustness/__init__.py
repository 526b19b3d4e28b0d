"""Test the shipped model beyond its test sets: renderings, the gate, its attention, shortcuts."""

from scripts.train_extra import require_train_extra

require_train_extra()
