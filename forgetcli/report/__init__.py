"""Results made readable: text, tables, JSON, moving progress. The only package that knows rich.

It renders and returns; what is printed, and where, is the commands' business.
"""
