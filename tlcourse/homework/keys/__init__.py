"""The instructor's keys, one module an assignment: not in the wheel, never in a release."""
