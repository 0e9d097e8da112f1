"""Committees: their members, and what is common to their files."""
