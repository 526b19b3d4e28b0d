"""The evaluation report: what is measured on which table, drawn and written down."""

from scripts.train_extra import require_train_extra

require_train_extra()
