"""The evaluation report: what is measured on which table, drawn and written down."""
