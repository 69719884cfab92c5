"""Tests of dataflow_assets."""
