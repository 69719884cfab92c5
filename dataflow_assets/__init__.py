"""Declared sources to one trustworthy warehouse, as Dagster assets."""
