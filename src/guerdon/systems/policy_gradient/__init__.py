"""Policy gradients for language models."""
