"""Infer: load an instance, decide whether it is in scope, run the bundle.

The only package that imports torch and monai.
"""
