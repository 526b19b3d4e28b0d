"""Choose calibration, operating points and bands for each population, and say what is validated."""
