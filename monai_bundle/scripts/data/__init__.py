"""The radiographs to train and measure on, and made pictures of other things."""
