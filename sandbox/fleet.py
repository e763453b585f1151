"""What moto 5.2 does not do in EC2 Fleet and that Karpenter's launches depend on.

moto picks the first override of a fleet, gives its instances the default security group and an 8 GiB volume,
never says that an instance is spot, and has no capacity reservations. Karpenter v1.14.1 reads all of these back:
wrong security groups are drift, and the instance's market decides its capacity type. The classes here launch what
the launch template says, at the lowest price among the overrides, as `lowest-price` does in EC2.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models import fleets
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.responses import EC2Response

# Karpenter sends the price it knows of an offering as the override's priority; lower is better in EC2 too.
_LAST_PRIORITY = float("inf")


@dataclass(frozen=True)
class Reservation:
    """A capacity reservation of the simulated account: `count` instances of one type in one zone."""

    id: str
    instance_type: str
    zone: str
    count: int
    kind: str = "default"
    tags: Mapping[str, str] = field(default_factory=dict)


class ReservationBook:
    """The account's capacity reservations; how many are free is counted from the running instances."""

    def __init__(self) -> None:
        self.reservations: dict[str, Reservation] = {}

    def replace(self, reservations: tuple[Reservation, ...]) -> None:
        """Make exactly these reservations exist; instances already in one keep it."""
        self.reservations = {reservation.id: reservation for reservation in reservations}

    def free(self, backend: Any, reservation: Reservation) -> int:
        """Instances that the reservation can still take."""
        used = sum(
            1
            for instance in backend.all_instances()
            if getattr(instance, "capacity_reservation_id", None) == reservation.id
            and instance.state not in ("terminated", "shutting-down")
        )
        return max(reservation.count - used, 0)


BOOK = ReservationBook()


class LaunchTemplateFleet(fleets.Fleet):
    """An instant fleet whose instances follow the launch template and the cheapest override."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.launched: list[dict[str, Any]] = []
        super().__init__(*args, **kwargs)
        remaining = int(self.target_capacity - self.fulfilled_capacity)
        if remaining > 0:
            # moto knows the default targets on-demand and spot only; what is left is a capacity block.
            self._launch(remaining, "capacity-block")

    def create_on_demand_requests(self, weight_to_add: float) -> None:
        self._launch(int(weight_to_add), "on-demand")

    def create_spot_requests(self, weight_to_add: float) -> list[Any]:
        self._launch(int(weight_to_add), "spot")
        return []

    @property
    def instances(self) -> list[dict[str, Any]] | None:
        return self.launched if self.fleet_type == "instant" else None

    def _launch(self, count: int, market: str) -> None:
        spec = min(self.launch_specs, key=_priority)
        template = self._template_data(spec.launch_template_spec or {})
        reservation_id = _reservation_target(template)
        if reservation_id:
            reservation = BOOK.reservations.get(reservation_id)
            count = min(count, BOOK.free(self.ec2_backend, reservation)) if reservation else 0
        launched = self.ec2_backend.run_instances(
            image_id=spec.image_id,
            count=count,
            instance_type=spec.instance_type,
            is_instance_type_default=False,
            key_name=spec.key_name,
            security_group_names=[],
            security_group_ids=_security_groups(template),
            user_data=spec.user_data,
            placement=None,
            subnet_id=spec.subnet_id or _subnet(template),
            fleet_id=self.id,
            region_name=self.ec2_backend.region_name,
            tags=spec.tag_specifications,
            block_device_mappings=template.get("BlockDeviceMappings") or [],
            metadata_options=template.get("MetadataOptions") or {},
            lifecycle=None if market == "on-demand" else market,
        )
        for instance in launched.instances:
            _mark_market(instance, market, reservation_id)
            entry = {"Lifecycle": market, "InstanceIds": [instance.id], "InstanceType": instance.instance_type}
            entry["LaunchTemplateAndOverrides"] = {
                "LaunchTemplateSpecification": spec.launch_template_spec,
                "Overrides": spec.overrides or {},
            }
            self.launched.append(entry)
            self.on_demand_instances.append({"id": launched.id, "instance": instance, "launch_spec": spec})
        self.fulfilled_capacity += count

    def _template_data(self, specification: Mapping[str, Any]) -> Mapping[str, Any]:
        template = self.ec2_backend.get_launch_template(template_id=specification["LaunchTemplateId"])
        data: Mapping[str, Any] = template.get_version(specification["Version"]).data
        return data


def _priority(spec: Any) -> float:
    priority = (spec.overrides or {}).get("Priority")
    return _LAST_PRIORITY if priority is None else float(priority)


def _interfaces(template: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return template.get("NetworkInterfaces") or []


def _security_groups(template: Mapping[str, Any]) -> list[str]:
    groups = list(template.get("SecurityGroupIds") or [])
    for interface in _interfaces(template):
        groups += interface.get("Groups") or []
    return list(dict.fromkeys(groups))


def _subnet(template: Mapping[str, Any]) -> str | None:
    return next((nic["SubnetId"] for nic in _interfaces(template) if nic.get("SubnetId")), None)


def _reservation_target(template: Mapping[str, Any]) -> str | None:
    specification = template.get("CapacityReservationSpecification") or {}
    target = specification.get("CapacityReservationTarget") or {}
    return target.get("CapacityReservationId")


def _mark_market(instance: Any, market: str, reservation_id: str | None) -> None:
    """Set the fields from which Karpenter reads the capacity type (`capacityTypeFromInstance`, v1.14.1)."""
    if market == "spot":
        instance.spot_instance_request_id = f"sir-{secrets.token_hex(4)}"
    if reservation_id:
        instance.capacity_reservation_id = reservation_id
        instance.capacity_reservation_specification = {
            "CapacityReservationPreference": "capacity-reservations-only",
            "CapacityReservationTarget": {"CapacityReservationId": reservation_id},
        }


def describe_capacity_reservations(response: Any) -> ActionResult:
    """The EC2 action that moto lacks: by id, or by the filters that Karpenter sends."""
    wanted = response._get_param("CapacityReservationIds", [])
    filters = response._filters_from_querystring()
    found = (_reservation_record(response, entry) for entry in BOOK.reservations.values())
    matching = [
        record
        for record in found
        if (not wanted or record["CapacityReservationId"] in wanted) and _matches(record, filters)
    ]
    return ActionResult({"CapacityReservations": matching})


def _reservation_record(response: Any, entry: Reservation) -> dict[str, Any]:
    owner = response.current_account
    return {
        "CapacityReservationId": entry.id,
        "OwnerId": owner,
        "CapacityReservationArn": f"arn:aws:ec2:{response.region}:{owner}:capacity-reservation/{entry.id}",
        "InstanceType": entry.instance_type,
        "AvailabilityZone": entry.zone,
        "Tenancy": "default",
        "TotalInstanceCount": entry.count,
        "AvailableInstanceCount": BOOK.free(response.ec2_backend, entry),
        "State": "active",
        "InstanceMatchCriteria": "targeted",
        "ReservationType": entry.kind,
        "Tags": [{"Key": key, "Value": value} for key, value in entry.tags.items()],
    }


def _matches(record: Mapping[str, Any], filters: Mapping[str, Sequence[str]]) -> bool:
    tags = {tag["Key"]: tag["Value"] for tag in record["Tags"]}
    values = {
        "state": record["State"],
        "owner-id": record["OwnerId"],
        "instance-match-criteria": record["InstanceMatchCriteria"],
        **{f"tag:{key}": value for key, value in tags.items()},
    }
    return all(
        bool(set(wanted) & set(tags)) if name == "tag-key" else values.get(name) in wanted
        for name, wanted in filters.items()
    )


def spot_price_history(prices: Mapping[str, float]) -> Callable[[Any], ActionResult]:
    """An EC2 action that answers with these USD per hour prices; moto's own says 0.00001 for every type."""

    def describe_spot_price_history(response: Any) -> ActionResult:
        offerings = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(response.region, [])
        history = [
            {
                "InstanceType": offering["InstanceType"],
                "ProductDescription": "Linux/UNIX",
                "SpotPrice": f"{prices[offering['InstanceType']]:.6f}",
                "AvailabilityZone": offering["Location"],
                "Timestamp": "2026-01-01T00:00:00Z",
            }
            for offering in offerings
            if offering["InstanceType"] in prices
        ]
        return ActionResult({"SpotPriceHistory": history})

    return describe_spot_price_history


def price_list(prices: Mapping[str, float], query: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of the AWS Price List API's GetProducts, a service that moto lacks.

    `prices` are USD per hour on demand. Karpenter asks twice, for virtual machines and for bare metal.
    """
    families = [each["Value"] for each in query.get("Filters", []) if each["Field"] == "productFamily"]
    metal = any("bare metal" in family for family in families)
    products = [_product(name, price) for name, price in prices.items() if name.endswith(".metal") == metal]
    return {"FormatVersion": "aws_v1", "PriceList": [json.dumps(product) for product in products]}


def _product(instance_type: str, price: float) -> dict[str, Any]:
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": f"{price:.10f}"}}
    return {
        "product": {"productFamily": "Compute Instance", "attributes": {"instanceType": instance_type}},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {"sandbox": {"priceDimensions": {"sandbox": dimension}}}},
    }


def install(spot_prices: Mapping[str, float]) -> None:
    """Put the above into the moto of this process."""
    # By name: to a type checker these are a class and methods that nothing may replace.
    setattr(fleets, "Fleet", LaunchTemplateFleet)  # noqa: B010
    setattr(EC2Response, "describe_capacity_reservations", describe_capacity_reservations)  # noqa: B010
    setattr(EC2Response, "describe_spot_price_history", spot_price_history(spot_prices))  # noqa: B010
