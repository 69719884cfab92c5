"""Plug-ins for dataflow_assets: files with columns of a fixed width; numbers in another unit."""
