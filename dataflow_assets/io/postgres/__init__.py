"""The Postgres warehouse: partitions of entities and the ledger, for many machines at once.

What belongs here: connections, types, tables, rights, and the publish, all for Postgres. What does
not: computing rows; they come as Parquet files, ready to be copied.
"""
