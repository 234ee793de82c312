"""What the fake answers: scripts, queues, matching, faults."""
