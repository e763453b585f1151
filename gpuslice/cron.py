"""The schedules that Karpenter reads: standard five-field cron in UTC, and the CRD's words.

The grammar is that of `ParseStandard` of robfig/cron v3, less what the NodePool CRD's pattern keeps out (`@every`,
`TZ=`). Unlike it, a day that no month has (30 February) is not looked for: such a schedule never begins.
"""

from __future__ import annotations

CRON_WORDS = ("@annually", "@yearly", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
CRON_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of the week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
LONGEST = 200


def cron_fault(value: str) -> tuple[str, str] | None:
    """What is wrong with a schedule, and what is allowed; None when Karpenter would take it."""
    if value in CRON_WORDS:
        return None
    if len(value) > LONGEST:
        return f"has {len(value)} characters, too many for a schedule", f"at most {LONGEST} characters"
    fields = value.split()
    if len(fields) != len(CRON_FIELDS):
        names = ", ".join(name for name, *_ in CRON_FIELDS)
        allowed = f"five fields ({names}), in UTC, or one of {', '.join(CRON_WORDS)}"
        return f"has {len(fields)} {'field' if len(fields) == 1 else 'fields'}; a schedule has 5", allowed
    for text, (name, low, high, words) in zip(fields, CRON_FIELDS, strict=True):
        if not all(_part(part, low, high, words) for part in text.split(",")):
            spelled = f" or {words[0]} to {words[-1]}" if words else ""
            return f"has '{text[:20]}' as its {name}", f"{low} to {high}{spelled}, '*', ranges, lists and steps"
    return None


def _part(part: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (_digits(step) and int(step) > 0):
        return False
    if span in {"*", "?"}:
        return True
    start, dash, end = span.partition("-")
    numbers = [_number(text, low, high, words) for text in ([start, end] if dash else [start])]
    known = [n for n in numbers if n is not None]
    return len(known) == len(numbers) and known == sorted(known)


def _number(text: str, low: int, high: int, words: tuple[str, ...]) -> int | None:
    if text.lower() in words:
        return words.index(text.lower()) + low
    return int(text) if _digits(text) and low <= int(text) <= high else None


def _digits(text: str) -> bool:
    return text.isascii() and text.isdecimal()
