"""Cases of policies/rules/overlays.py."""

CASES = []
