"""The CrossGuard policy pack: what a GPU pool, its nodes, its cluster and its workloads must not be.

It imports nothing of the program but the hardware catalogue: a policy that shared the program's renderer would share
its mistakes.
"""
