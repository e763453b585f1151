"""Cases of the rules on single MIG configurations, in ConfigMaps and Helm values."""

from typing import Any

from base import Edit, accepted, also, drop_yaml, put, put_yaml, refused

VALID, PLACE = "mig-config-valid", "mig-layout-placeable"
LABELS = ("spec", "template", "metadata", "labels")
CAPACITY, LIMITS = ("spec", "capacity"), ("spec", "limits")
MIG_LABEL, WHOLE = "nvidia.com/mig.config", "nvidia.com/gpu"
DOCUMENT = "version: v1\nmig-configs: {all-disabled: [{devices: all, mig-enabled: false}]}\n"
FOR_80 = {"device-filter": ["0x20B210DE"], "mig-devices": {"1g.10gb": 3, "2g.20gb": 2}}
FOR_40 = {"device-filter": "0x20b010de", "mig-devices": {"1g.5gb": 3, "2g.10gb": 2}}


def document(*path_and_value: Any) -> Edit:
    return put_yaml("mig-configs", "config.yaml", *path_and_value)


def halves(*path_and_value: Any) -> Edit:
    """Changes the entry of a layout that no pool uses."""
    return document("mig-configs", "a100-halves", 0, *path_and_value)


def without_field(*path: Any) -> Edit:
    return drop_yaml("mig-configs", "config.yaml", *path)


def spare(*entries: dict[str, Any]) -> Edit:
    """Another layout, which no pool uses."""
    return document("mig-configs", "spare", [{"devices": "all", "mig-enabled": True, **entry} for entry in entries])


def cut(counts: dict[str, int], filters: Any = None) -> Edit:
    """The same, of these instances of the GPUs that the filters name."""
    return spare({"mig-devices": counts} | ({"device-filter": filters} if filters else {}))


def layout(*entries: dict[str, Any]) -> Edit:
    """The layout of the pool `mig`."""
    return document(
        "mig-configs", "a100-mixed", [{"devices": "all", "mig-enabled": True, **entry} for entry in entries]
    )


def no_mig() -> tuple[Edit, ...]:
    """The pool `mig` without MIG."""
    return (
        put("pool-mig", *LABELS, {}),
        put("overlay-mig", *CAPACITY, {WHOLE: 8}),
        put("pool-mig", *LIMITS, WHOLE, 16),
    )


CASES = [
    refused(
        VALID, "the second document", put("mig-configs", "data", "z.yaml", DOCUMENT + "x: y"), says='"z.yaml"].x, which'
    ),
    refused(
        VALID,
        "in the pool's own layout",
        layout(FOR_40 | {"mig-devices": {"1g.5gb": "7", "2g.10gb": 0}}),
        says="1g.5gb\"] to '7'",
    ),
    refused(VALID, "a list of layouts", document("mig-configs", []), says="mig-configs is [], not an object"),
    refused(VALID, "a further key of an entry", halves("zone", "a"), says="[0].zone, which mig-parted"),
    refused(VALID, "the first device by name", halves("devices", ["0", 1]), says="devices to what are no GPU numbers"),
    refused(VALID, "another vendor", halves("device-filter", "0x20B010DF"), says="filters by '0x20B010DF'"),
    refused(VALID, "no version", without_field("version"), says="version to ''; allowed: v1"),
    refused(VALID, "another version", document("version", "v2"), says="version to 'v2'; allowed: v1"),
    refused(VALID, "another key", document("flags", {}), says='data["config.yaml"].flags, which mig-parted refuses'),
    refused(
        VALID, "no all-disabled", without_field("mig-configs", "all-disabled"), says="mig-configs.all-disabled, which"
    ),
    refused(VALID, "a layout of nothing", document("mig-configs", "spare", []), says="has no entry in"),
    refused(
        VALID, "a key of an entry", halves("device_filter", ["0x20B010DE"]), says="device_filter, which mig-parted"
    ),
    refused(VALID, "no devices", without_field("mig-configs", "a100-halves", 0, "devices"), says="[0].devices"),
    refused(VALID, "no switch", without_field("mig-configs", "a100-halves", 0, "mig-enabled"), says="[0].mig-enabled"),
    refused(VALID, "a switch as a text", halves("mig-enabled", "true"), says="mig-enabled to 'true'; allowed: true or"),
    refused(
        VALID, "no instances", without_field("mig-configs", "a100-halves", 0, "mig-devices"), says="[0].mig-devices"
    ),
    refused(
        VALID, "instances although disabled", halves("mig-enabled", False), says="although mig-enabled is not true"
    ),
    refused(VALID, "a count as a text", halves("mig-devices", "3g.20gb", "1"), says="\"3g.20gb\"] to '1'; allowed: a"),
    refused(VALID, "a count that is true", halves("mig-devices", "3g.20gb", True), says="to 'True'"),
    refused(
        VALID,
        "a further key in the pool's own layout",
        layout(FOR_40 | {"mig-devices": {"1g.5gb": 7}, "zone": "a"}),
        says="[0].zone",
    ),
    refused(VALID, "a negative count", halves("mig-devices", "3g.20gb", -1), says="to '-1'; allowed"),
    refused(VALID, "zeros alone", halves("mig-devices", {"3g.20gb": 0, "4g.20gb": 0}), says="sets every count of"),
    refused(VALID, "no profile", halves("mig-devices", "3g20gb", 1), says="3g20gb, which is no MIG profile"),
    refused(VALID, "more and less at once", halves("mig-devices", "1g.5gb+me-me", 1), says="no MIG profile"),
    refused(
        VALID, "other devices", halves("devices", "some"), says="devices to 'some'; allowed: all, or a list of GPU"
    ),
    refused(VALID, "devices by name", halves("devices", [0, "1"]), says="devices to what are no GPU numbers"),
    refused(
        VALID,
        "the vendor first",
        halves("device-filter", ["0x20B010DE", "0x10DE20B0"]),
        says="filters by '0x10DE20B0', which is no GPU of NVIDIA; allowed: device id, then vendor, as 0x20B010DE",
    ),
    refused(VALID, "a filter by name", halves("device-filter", "A100"), says="filters by 'A100'"),
    refused(VALID, "an empty filter in a list", halves("device-filter", [""]), says="filters by ''"),
    refused(
        VALID,
        "the second entry",
        spare({"mig-devices": {}}, {"devices": 3}),
        says="spare[1].devices is 3, not a list",
    ),
    refused(
        VALID,
        "in the chart's values",
        put(
            "gpu-operator",
            "values",
            "migManager",
            "config",
            {"create": True, "name": "x", "data": {"config.yaml": DOCUMENT + "x: y"}},
        ),
        put("pool-mig", *LABELS, MIG_LABEL, "all-disabled"),
        *no_mig(),
        says='data["config.yaml"].x, which',
    ),
    accepted(VALID, "MIG without instances", halves("mig-devices", {})),
    accepted(VALID, "a zero besides", halves("mig-devices", "1g.5gb", 0)),
    accepted(VALID, "some devices", halves("devices", [0, 1])),
    accepted(VALID, "a filter as a text", halves("device-filter", "0x20B010DE")),
    accepted(VALID, "a filter with a subsystem", halves("device-filter", "0x20B010DE:0x134F10DE")),
    accepted(VALID, "an empty filter", halves("device-filter", "")),
    accepted(VALID, "a decimal filter", halves("device-filter", str(0x20B010DE))),
    accepted(
        VALID,
        "a chart of another name",
        put("karpenter", "values", "migManager", "config", "data", {"x": "mig-configs: {}"}),
    ),
    # The vectors of the MIG placement tables, with the names of an A100 of 40 GB.
    refused(
        PLACE, "two times 3g beside 1g", cut({"3g.20gb": 2, "1g.5gb": 1}), says="1 x 1g.5gb + 2 x 3g.20gb on any GPU"
    ),
    refused(PLACE, "4g, 3g and 1g", cut({"4g.20gb": 1, "3g.20gb": 1, "1g.5gb": 1})),
    refused(
        PLACE, "eight times 1g", cut({"1g.5gb": 8}), says="has the layout spare, which cannot be placed: 8 x 1g.5gb"
    ),
    refused(
        PLACE, "in the first layout", halves("mig-devices", {"3g.20gb": 3}), says="has the layout a100-halves, which"
    ),
    refused(
        PLACE,
        "in the second document",
        put(
            "mig-configs",
            "data",
            "z.yaml",
            DOCUMENT.replace("}]}", "}], z: [{devices: all, mig-enabled: true, mig-devices: {1g.5gb: 8}}]}"),
        ),
        says="has the layout z, which",
    ),
    refused(
        PLACE,
        "both entries",
        spare({"mig-devices": {"1g.5gb": 8}, "devices": [0]}, {"mig-devices": {"1g.5gb": 9}, "devices": [1]}),
        says="placed: 9 x 1g.5gb",
    ),
    refused(
        PLACE,
        "in one half of the pool's own layout",
        layout(FOR_40 | {"devices": [0, 1, 2, 3]}, FOR_40 | {"devices": [4, 5, 6, 7], "mig-devices": {"1g.5gb": 8}}),
        says="placed: 8 x 1g.5gb on A100-40GB",
    ),
    refused(
        PLACE,
        "in the other half of it",
        layout(FOR_40 | {"devices": [4, 5, 6, 7], "mig-devices": {"1g.5gb": 8}}, FOR_40 | {"devices": [0, 1, 2, 3]}),
        says="placed: 8 x 1g.5gb on A100-40GB",
    ),
    refused(PLACE, "two times 4g", cut({"4g.20gb": 2})),
    refused(PLACE, "four double 1g and three 1g", cut({"1g.10gb": 4, "1g.5gb": 3})),
    refused(PLACE, "four double 1g and one 1g", cut({"1g.10gb": 4, "1g.5gb": 1})),
    refused(PLACE, "media engines twice", cut({"1g.5gb+me": 2})),
    refused(PLACE, "media engines twice, in two profiles", cut({"1g.6gb+me": 1, "2g.12gb+me": 1})),
    refused(PLACE, "a profile that no GPU has", cut({"1g.7gb": 1})),
    refused(PLACE, "profiles of two GPUs", cut({"1g.5gb": 1, "2g.20gb": 1})),
    accepted(PLACE, "3g before 4g", cut({"3g.20gb": 1, "4g.20gb": 1})),
    accepted(PLACE, "4g, 2g and 1g", cut({"4g.20gb": 1, "2g.10gb": 1, "1g.5gb": 1})),
    accepted(PLACE, "six 1g and a double one", cut({"1g.5gb": 6, "1g.10gb": 1})),
    accepted(PLACE, "two times 3g", cut({"3g.20gb": 2})),
    accepted(PLACE, "media engines once", cut({"1g.5gb+me": 1, "1g.5gb": 6})),
    refused(
        PLACE,
        "on the GPU of the filter",
        cut({"1g.10gb": 7}, ["0x20B010DE"]),
        says="7 x 1g.10gb on A100-40GB",
    ),
    accepted(PLACE, "on the GPU of another filter", cut({"1g.10gb": 7}, ["0x20B210DE"])),
    refused(PLACE, "the second filter", cut({"1g.10gb": 7}, ["0x20B210DE", "0x20B010DE"]), says="on A100-40GB"),
    refused(PLACE, "the first filter", cut({"1g.10gb": 7}, ["0x20B010DE", "0x20B210DE"]), says="on A100-40GB"),
    refused(PLACE, "the second GPU of two", cut({"1g.5gb": 1}, ["0x20B010DE", "0x20B210DE"]), says="on A100-80GB"),
    accepted(PLACE, "both filters", cut({"1g.10gb": 4}, ["0x20B010DE", "0x20B210DE"])),
    accepted(PLACE, "a GPU that EC2 does not have", cut({"1g.6gb": 4}, "0x20B710DE")),
    refused(PLACE, "in no place of such a GPU", cut({"1g.6gb": 5}, "0x20B710DE"), says="on any GPU"),
    refused(
        PLACE,
        "the second entry",
        spare({"mig-devices": {"7g.40gb": 1}, "devices": [0]}, {"mig-devices": {"7g.40gb": 2}, "devices": [1]}),
        says="2 x 7g.40gb",
    ),
    refused(PLACE, "in the pool's own layout", layout(FOR_40 | {"mig-devices": {"1g.5gb": 8}}), says="8 x 1g.5gb"),
    refused(
        PLACE, "in the pool's own layout, without a filter", layout({"mig-devices": {"1g.5gb": 8}}), says="8 x 1g.5gb"
    ),
    refused(
        PLACE,
        "out of the operator's sight",
        also(
            "app",
            "kubernetes:core/v1:ConfigMap",
            {
                "metadata": {"name": "app"},
                "data": {
                    "x": DOCUMENT.replace(
                        "}]}", "}], a: [{devices: all, mig-enabled: true, mig-devices: {1g.5gb: 8}}]}"
                    )
                },
            },
        ),
        says="has the layout a, which",
    ),
]
