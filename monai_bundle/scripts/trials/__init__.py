"""What the shipped model is put to beside its proper work: renderings, corners, strangers."""

from scripts.train_extra import require_train_extra

require_train_extra()
