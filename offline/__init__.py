"""Runs a Pulumi program in process, without the engine, credentials or a network, and records it as data.

Importing this package is cheap: the Pulumi SDK is loaded by the first `record()`.
"""

from offline.record import ProgramFailed, record
from offline.recording import Recording, Resource
from offline.values import UNKNOWN, Secret

__all__ = ["UNKNOWN", "ProgramFailed", "Recording", "Resource", "Secret", "record"]
