"""List the radiographs to train and measure on, and make synthetic pictures."""
