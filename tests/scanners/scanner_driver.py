"""Runs in the scanners' environment: `python scanner_driver.py checkov|schemas`, JSON in and JSON out.

Not their commands: checkov's takes three seconds for each folder and asks its maker's server for texts;
kubernetes-validate's ends with 0 where it has no schema.
"""

import json
import os
import sys
from typing import Any

NETWORK = ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto", "socket.sendmsg")
EXIT_CODE = 97


def stay_offline() -> None:
    """End at the first use of the network: a scan says the same with and without one, and waits for nobody."""

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        # Not an exception: whoever tried would catch it.
        if event in NETWORK:
            os.write(2, f"a scanner turned to the network: {event} {arguments[-5:]}\n".encode())
            os._exit(EXIT_CODE)

    sys.addaudithook(refuse)


def checkov(folders: list[str]) -> list[dict[str, Any]]:
    """The report of each folder, by a runner of its own: a used one goes on looking at its first folder."""
    from checkov.kubernetes.runner import Runner
    from checkov.runner_filter import RunnerFilter

    every_check = RunnerFilter(framework=["kubernetes"], show_progress_bar=False)
    return [Runner().run(root_folder=folder, runner_filter=every_check).get_dict() for folder in folders]


def schemas(objects: list[tuple[str, dict[str, Any]]]) -> list[dict[str, str]]:
    """For each version of Kubernetes and manifest one of three.

    `checked`: the version whose schema it meets; `unknown`: what has no schema; `wrong`: what does not fit.
    """
    return [_verdict(version, manifest) for version, manifest in objects]


def _verdict(version: str, manifest: dict[str, Any]) -> dict[str, str]:
    import kubernetes_validate as validator

    try:
        # Strict: what the schema does not have is refused too.
        return {"checked": validator.validate(manifest, version, strict=True)}
    except validator.SchemaNotFoundError:
        return {"unknown": f"{manifest['apiVersion']} {manifest['kind']}"}
    except validator.ValidationError as error:
        return {"wrong": f"{'.'.join(map(str, error.absolute_path))}: {error.message}"}


if __name__ == "__main__":
    stay_offline()
    print(json.dumps({"checkov": checkov, "schemas": schemas}[sys.argv[1]](json.load(sys.stdin))))
