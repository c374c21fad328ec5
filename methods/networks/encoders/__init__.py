"""Encoders: an image to one map a stage."""
