"""From outside systems to archived bytes and raw rows, one module per kind of source.

What belongs here: finding, archiving and splitting what was received. What does not: types, rules,
and Dagster.
"""
