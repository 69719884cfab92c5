"""Tests of `transform`."""
