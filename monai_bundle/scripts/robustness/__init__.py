"""Test the shipped model beyond its test sets: renderings, the gate, its attention, shortcuts."""
