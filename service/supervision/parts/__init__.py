"""The parts that are no workers: each a process of its own that runs until SIGTERM.

A module each, so that a process loads the libraries of its own part only.
"""
