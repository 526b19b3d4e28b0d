"""Engines: what runs the network of a bundle on a CPU in the place of torch.

A network is exported once, compared with torch and measured beside it. What was made is kept with
the reason for it, and trusted only where bundle, versions and machine are those that it was made
from. Only `export` and `measure` import torch.
"""
