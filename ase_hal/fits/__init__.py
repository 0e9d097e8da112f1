"""Fits: what they take from labelled structures."""
