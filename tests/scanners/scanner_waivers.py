"""What a scanner found against what was waived: each finding needs a waiver, and each waiver a finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter

LONGEST = timedelta(days=366)

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Waiver(BaseModel):
    """A finding that stays, for a reason and for a time."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Text
    resource: Text
    reason: Text
    expires: date


@dataclass(frozen=True)
class Finding:
    """`where`: the stack and the file; a waiver is for the resource, wherever it is."""

    id: str
    resource: str
    where: str
    message: str


def read_waivers(text: str) -> list[Waiver]:
    """Raises pydantic's ValidationError, which names the entry and the key."""
    return TypeAdapter(list[Waiver]).validate_python(yaml.safe_load(text))


def problems(findings: Iterable[Finding], waivers: Sequence[Waiver], today: date) -> list[str]:
    """Nothing when all is well. On its last day a waiver still holds; once it has expired it waives nothing."""
    found = list(findings)
    valid = {_key(w) for w in waivers if today <= w.expires <= today + LONGEST}
    hit = {_key(f) for f in found}
    times = Counter(map(_key, waivers))
    return [
        *(f"{f.id} {f.resource} ({f.where}): {f.message}" for f in found if _key(f) not in valid),
        *(f"{_name(w)} expired on {w.expires}" for w in waivers if w.expires < today),
        *(f"{_name(w)} is for more than a year, until {w.expires}" for w in waivers if w.expires > today + LONGEST),
        *(f"{_name(w)} matches nothing: take it away" for w in waivers if _key(w) not in hit),
        *(f"the waiver of {' '.join(key)} is there {count} times" for key, count in times.items() if count > 1),
    ]


def _key(subject: Finding | Waiver) -> tuple[str, str]:
    return subject.id, subject.resource


def _name(waiver: Waiver) -> str:
    return f"the waiver of {waiver.id} {waiver.resource}"
