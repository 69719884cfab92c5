"""Declared pipelines, one folder each: YAML, and nothing else."""
