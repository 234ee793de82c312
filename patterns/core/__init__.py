"""What several patterns need: reading messages, models and limits, prices, fan-out, statistics.

Imports nothing else of ours.
"""
