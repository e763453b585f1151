"""Named faults, put into a copy of the project one at a time: does the pack, or a test, notice?"""
