"""Patterns for building with Claude in production, one module per chapter of the course.

Every module can be copied out on its own: its docstring says which files to take along.
"""
