"""Writes docs/policies.md from the rules' own records: `python -m policies.docs`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from policies.config import allowed_values
from policies.model import Option, Rule
from policies.pack import DOMAINS, RULES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "policies.md"
HEAD = """# Policies

This page is made from the rules by `.venv/bin/python -m policies.docs`.

`make preview` and `make up` run the pack always: in the real engine as `pulumi --policy-pack policies`, and in the
credential-free preview as the engine would start it. A mandatory violation is exit code 1, and nothing is deployed. On
manifests, on what `pulumi stack export` or `pulumi preview --json` printed, and on folders of them:

```console
$ .venv/bin/gpuslice check manifests/
```

It judges any Pulumi program with `pulumi preview --policy-pack policies`, whoever wrote it, once `make setup` has made
the `.venv` that the pack runs in: NodePools as custom resources, in a ConfigGroup or as YAML; charts as Pulumi, Flux or
Argo CD resources; EKS as the component of pulumi-eks or as plain AWS resources.

## Levels and options

`policies.<stack>.json` beside the stack file sets them (for `gpuslice check`, any file with `--config`):

```json
{
  "replicas-within-cap": {"maxReplicas": {"l40s": 8}},
  "overlay-sets-no-price": "mandatory",
  "eks-deletion-protection": {"enforcementLevel": "disabled"}
}
```

`mandatory` stops the update, `advisory` is only said, `disabled` does not run; `"all": "advisory"` sets every rule that
is not named. What is not named keeps its default. A wrong name or value is refused, with what is allowed.

A rule that needs a value which is known only after the update says so, as advisory, and judges it in the update itself.
A rule `of one resource` stops that resource before it is made. A rule `of the stack` compares several, at the end of
the preview: an update with `--skip-preview` has then made them already. A rule `of an update` compares with what
exists, which the engine does not tell a policy pack: `make up` and `make preview` ask it with a preview of their own.
"""
SCOPES = {"resource": "of one resource", "stack": "of the stack", "change": "of an update"}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_index(), *(line for domain in DOMAINS for line in _domain(domain.RULES))]) + "\n"


def _index() -> Iterator[str]:
    yield f"## The {len(RULES)} rules\n"
    yield "| rule | what must hold | level |"
    yield "|---|---|---|"
    for rule in sorted(RULES, key=lambda rule: (rule.domain, rule.id)):
        yield f"| [{rule.id}](#{rule.id}) | {rule.description} | {rule.level} |"
    yield ""


def _domain(rules: Iterable[Rule]) -> Iterator[str]:
    listed = list(rules)
    yield f"## Domain: {listed[0].domain}\n"
    for rule in listed:
        yield from _rule(rule)


def _rule(rule: Rule) -> Iterator[str]:
    yield f"### {rule.id}\n"
    yield f"{rule.description}\n"
    yield f"- Why: {rule.why} [Source]({rule.url})"
    yield f"- To comply: {rule.remedy}"
    yield f"- {rule.level.capitalize()}, {rule.severity}, {SCOPES[rule.scope]}. Off: `{_off(rule)}`"
    for name, option in rule.options.items():
        yield f"- Option `{name}`: {option.description}. {_values(option)}"
    yield ""


def _off(rule: Rule) -> str:
    return json.dumps({rule.id: "disabled"})


def _values(option: Option) -> str:
    allowed = allowed_values(option)
    default = list(option.default) if option.type == "list" else option.default
    return f"{allowed[0].upper()}{allowed[1:]}; default `{json.dumps(default)}`."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
