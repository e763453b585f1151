"""Cases of policies/rules/sharing.py."""

CASES = []
