"""Rewards that are learned from feedback."""
