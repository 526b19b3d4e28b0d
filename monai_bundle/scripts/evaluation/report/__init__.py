"""Compute the figures of the evaluation report and write them as JSON, Markdown and SVG."""
