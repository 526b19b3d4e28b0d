"""Deliver: send outputs to destinations over C-STORE or STOW-RS."""
