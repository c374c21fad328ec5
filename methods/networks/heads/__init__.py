"""Heads: maps of the stages to class scores."""
