"""What is kept of an instance: the patient, the evidence, the verdicts of radiologists."""
