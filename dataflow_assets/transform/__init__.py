"""From raw rows to typed, contracted and normalized ones, as pure Polars expressions.

What belongs here: parsing, contract, quarantine, de-duplication, mapping. What does not: Dagster,
and reading or writing anything.
"""
