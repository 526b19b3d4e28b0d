"""The Grayscale Softcopy Presentation State."""
