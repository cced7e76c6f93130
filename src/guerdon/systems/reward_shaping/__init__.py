"""How rewards are reshaped."""
