"""What watches the model in service: drift of its inputs and results, and a shadow model."""
