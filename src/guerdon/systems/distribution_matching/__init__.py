"""Policies that move to a better distribution by imitation of what was chosen."""
