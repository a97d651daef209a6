"""Homework that grades itself: release it, judge what comes back in a box, tell each student why."""
