"""Scenario + subject + metric; drives everything from outside."""
