"""Base classes of several methods."""
