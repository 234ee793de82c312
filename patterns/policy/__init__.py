"""Chapter 01: who may ask Claude what, with which data, how often, and how that is proved later.

Each file is one SDK middleware, or a part of one, and works without the others.
"""
