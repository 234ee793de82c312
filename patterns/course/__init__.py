"""What makes the course run: clients that replay or record, the recordings, the runner, the views.

Not a pattern: nothing to take home.
"""
