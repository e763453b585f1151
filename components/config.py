"""The program's way to its settings: every key of the stack's configuration, checked before anything is registered."""

import json
import os
from typing import Any

import pulumi
from pulumi.runtime import config as runtime_config

from gpuslice.load import BASE, load_settings
from gpuslice.problems import Problem, SettingsError
from gpuslice.project import OFFLINE_VARIABLE
from gpuslice.settings import Settings


def stack_settings() -> Settings:
    """The settings of the stack that runs. Raises `SettingsError` with every problem of its configuration."""
    values = {**runtime_config.get_config_env(), **runtime_config.CONFIG.get()}
    problems: list[Problem] = []
    config: dict[str, Any] = {}
    for key, text in values.items():
        if runtime_config.is_config_secret(key) and key.startswith(BASE):
            problems.append(Problem(key, "[secret]", "is encrypted, but decides which resources exist", "plain values"))
        else:
            config[key] = _value(key, text)
    if problems:
        raise SettingsError(problems)
    return load_settings(config, pulumi.get_stack())


def _value(key: str, text: Any) -> Any:
    """The engine hands structures over as JSON text and plain strings as they are."""
    if not key.startswith(BASE) or not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def refuse_engine(settings: Settings) -> None:
    """The local stack lives in the sandbox: under the real engine it would make, and bill, what it only plays."""
    if settings.cluster.mode == "sandbox" and not os.environ.get(OFFLINE_VARIABLE):
        where = BASE + "cluster.mode"
        raise SettingsError(
            [Problem(where, '"sandbox"', "belongs to `make up`, not to `pulumi up`", "create, existing")]
        )
