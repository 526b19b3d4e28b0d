"""What the shipped model is put to beside its proper work: renderings, corners, strangers."""
