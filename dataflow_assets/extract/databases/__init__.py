"""The databases that a source can be read from, one module per system.

What belongs here: connecting, what columns a query has, and its rows as Arrow batches of exact
types. What does not: partitions and the archive; those are `extract.database`'s.
"""
