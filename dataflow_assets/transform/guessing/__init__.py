"""Guesses about columns: types, formats, null tokens, keys, rules, and columns that were renamed.

What belongs here: what a sample's values say about a contract. What does not: how a file is
written (`extract.sniffing`), the declaration that is made of guesses, and files.

A guess is never more than what the sample bears out: a type is guessed only if every sampled value
is read by the very readers that cleaning uses (`transform.parse`).
"""
