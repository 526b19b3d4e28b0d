"""Train the network and its gate, and package the weights."""

from scripts.train_extra import require_train_extra

require_train_extra()
