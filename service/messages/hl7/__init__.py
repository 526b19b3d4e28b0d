"""HL7 v2.5.1: results of observations (ORU^R01) and their acknowledgement."""
