"""Cases of policies/rules/mig.py."""

CASES = []
